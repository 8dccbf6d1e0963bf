"""The reweighter of a trainer: which losses it weighs, and what it must be given for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from reweight._step.rows import needs_of_all
from reweight.integrations.transformers.losses import ModelLosses, OwnLosses
from reweight.integrations.transformers.pairs import PairLosses
from reweight.meta_reweighter import MetaReweighter
from reweight.scorers import GradientSimilarity
from reweight.weightings import GroupWeights, Weighting

Forward = Callable[[nn.Module, Any], Any]
Options = Mapping[str, Any] | Callable[[nn.Module], MetaReweighter] | None


def check_options(options: Options) -> None:
    """Refuse what neither names settings nor builds a reweighter.

    Raises:
        TypeError: If it is neither a dict nor a function, or a reweighter that is built already.
        ValueError: If it has a ``loss`` or a ``model``.
    """
    if isinstance(options, MetaReweighter):
        raise TypeError(
            "reweighter must be built after the Trainer has prepared the model (moved, wrapped "
            "for mixed precision and several ranks). Give its settings as a dict, or a function "
            "model -> MetaReweighter."
        )
    if options is None or (callable(options) and not isinstance(options, type)):
        return
    if not isinstance(options, Mapping):
        raise TypeError(
            f"reweighter must be a dict of MetaReweighter's settings, or a function "
            f"model -> MetaReweighter; got {options!r}."
        )
    wrong = {"model", "loss"} & options.keys()
    if wrong:
        raise ValueError(
            f"reweighter must not have {min(wrong)!r}: the Trainer's batches are dicts, and its "
            f"model is the one it trains. For a loss of your own give compute_loss_func=, or "
            f'"forward", a function (model, batch) that returns one loss a sample.'
        )


def build(options: Options, model: nn.Module, forward: Callable[[], Forward]) -> MetaReweighter:
    """Return the reweighter of the model as the Trainer has prepared it.

    Raises:
        TypeError: If a function returned something else.
    """
    if callable(options):
        found = options(model)
        if not isinstance(found, MetaReweighter):
            raise TypeError(
                f"the function given as reweighter= must return a MetaReweighter; it returned "
                f"{found!r}."
            )
        if found.model is not model:
            raise ValueError(
                "the function given as reweighter= must build it on the model it is called with, "
                "which the Trainer has prepared; it used another."
            )
        return found
    settings = dict(options or {})
    if settings.get("forward") is None:
        settings["forward"] = forward()
    return MetaReweighter(model, **settings)


def losses_of(
    trainer: Any, owner: type, model: nn.Module, function: Callable[..., Any] | None
) -> Forward:
    """Return the losses that a trainer takes the mean of.

    Args:
        trainer: With the attributes of ``transformers.Trainer``.
        owner: The class whose ``compute_loss`` it would run without weights.
        model: Its model, not wrapped.
        function: The user's ``compute_loss_func``.

    Raises:
        ValueError: If they are not known.
    """
    kind = trl_kind(owner)
    if kind == "DPOTrainer":
        return PairLosses.of(trainer.args)
    if kind != "SFTTrainer" and not owner.__module__.startswith("transformers."):
        raise ValueError(
            f"{owner.__name__} computes a loss of its own, of which only the mean is known. Give "
            f'reweighter={{"forward": ...}}, a function (model, batch) that returns one loss a '
            f"sample of its batches; known are Trainer, SFTTrainer and DPOTrainer."
        )
    if function is not None:
        return OwnLosses(function)
    if kind == "SFTTrainer" and getattr(trainer.args, "loss_type", "nll") != "nll":
        raise ValueError(
            f"SFTTrainer is weighed with loss_type='nll' alone; got "
            f"{trainer.args.loss_type!r}. Leave it out."
        )
    smoother = trainer.label_smoother
    return ModelLosses.of(model, 0.0 if smoother is None else float(smoother.epsilon))


def trl_kind(owner: type) -> str | None:
    """Return the name of a class of TRL, ``None`` for any other."""
    return owner.__name__ if owner.__module__.startswith("trl.") else None


def groups_of(weighting: Weighting) -> GroupWeights | None:
    """Return what remembers groups, alone or in a sum."""
    parts = getattr(weighting, "parts", (weighting,))
    return next((part for part in parts if isinstance(part, GroupWeights)), None)


def places(names: list[str], weighting: Weighting) -> list[int] | None:
    """Return by our number of each group its number in the weighting; ``None``: the same.

    Raises:
        ValueError: If a group is not among those that are remembered.
    """
    known = groups_of(weighting)
    if known is None or known.names is None:
        return None
    missing = sorted(set(names) - set(known.names))
    if missing:
        raise ValueError(
            f"the group column holds {missing}, of which {known!r} knows nothing. Name every "
            f"group there is."
        )
    return [known.names.index(name) for name in names]


def check_needs(
    reweighter: MetaReweighter, *, trusted: bool, rows: bool, groups: bool, packed: bool
) -> None:
    """Refuse a reweighter that the data cannot serve.

    Raises:
        ValueError: If it needs trusted samples, row numbers or groups that are not there, or
            weighs rows of a data set where rows are packed.
    """
    remembering = (reweighter.weighting, reweighter.labels, reweighter.dynamics)
    needs = needs_of_all(part for part in remembering if part is not None)
    similar = any(isinstance(scorer, GradientSimilarity) for scorer in reweighter.scorer.scorers)
    judged = similar or reweighter.trusted_coefficient > 0
    if judged and not trusted:
        raise ValueError(
            "trusted_dataset= is missing: these scores are measured against trusted samples. "
            "Without any, scorer=Uniform() trains plainly and LossMagnitude() weighs by the loss."
        )
    if packed and reweighter.granularity != "element":
        raise ValueError(
            "with packing or padding_free several samples share one row of a batch, and a weight "
            'a sample would weigh them all alike. Set reweighter={"granularity": "element"}, '
            "which weighs tokens, or packing=False and padding_free=False."
        )
    if "ids" in needs and not rows:
        raise ValueError(
            "what this reweighter remembers is by row, and rows are not known: "
            + (
                "packing makes new rows of the data set's. Set packing=False and "
                "padding_free=False."
                if packed
                else "the train_dataset has no length, or was replaced after the trainer was made."
            )
        )
    if "groups" in needs and not groups:
        raise ValueError(
            "what this reweighter remembers is by group: give group_column=, the column of the "
            "train_dataset that says which source a row is from."
        )
