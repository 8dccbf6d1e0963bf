"""One call per training step: score, normalise, mix, select, and return the weighted loss."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from torch import nn

from reweight._isolation.objective import Objective, unwrapped
from reweight._step.batches import Forward, Loss, SupervisedForward
from reweight._step.context import ScoringContext
from reweight._step.losses import Granularity, UnitLosses, check_reduction
from reweight._step.retry import without_nonfinite
from reweight._step.weighing import scores_by_name, selected_weights
from reweight._trusted.loss_term import known_gradient_term
from reweight.scorers import (
    GradientSimilarity,
    LastLayerGradient,
    Mixture,
    ScorerLike,
    as_mixture,
)
from reweight.selectors import KeepAll, Rectify, Selector
from reweight.step import ReweightedStep

OnEmpty = Literal["skip", "uniform"]
OnNonfinite = Literal["raise", "drop"]


class MetaReweighter:
    """Weigh the samples of each noisy batch, as the trusted batch judges them.

    In a training loop ``loss = loss_fn(model(x), y).mean()`` becomes
    ``step = reweighter((x, y), trusted_batch)``, and ``step.loss.backward()`` follows. With the
    defaults a sample's weight is half gradient similarity and half last-layer gradient, the mixture
    of Hussain et al., "Active Deep Learning from a Noisy Teacher" (Algorithm 1), and no weight is
    cut off. :meth:`paper` is their method whole, rectified at 1/C, which did worse in nearly every
    setting measured (``docs/when-it-helps.md``).

    The training pass runs through ``model`` as it is given, so that ``DistributedDataParallel``,
    ``torch.compile``, hooks and autocast work as ever; under DDP each rank weighs its own batch.
    Scoring passes leave the model as they found it, run outside autocast, and see the dropout
    masks that the training pass will see.

    Args:
        model: Any ``nn.Module``.
        loss: ``loss(output, target)`` with one value per sample, ``(C,)``, or several,
            ``(C, ...)``. Batches are then pairs ``(input, target)``; an input that is a tuple or
            a dict is spread over the model's arguments.
        forward: Instead of ``loss``, for batches of any form: ``forward(model, batch)`` that
            returns ``(C,)`` or ``(C, ...)`` losses.
        scorer: A scorer, a mixture of scorers such as ``0.3 * A + 0.7 * B``, or a function
            ``(ScoringContext) -> (C,)`` scores.
        selector: A function from weights ``(N,)`` to weights with some set to zero; by default
            all are kept.
        trusted_coefficient: β ≥ 0. Adds ``β · L_v`` to the loss, from the trusted gradient that
            scoring computed anyway (``"unrolled"`` and look-aheads that move the parameters
            cost one more pass).
        granularity: ``"sample"`` averages a loss of several values per sample and weighs
            samples; ``"element"`` weighs every value of the loss map by itself.
        on_empty: When no weight survives selection: ``"skip"`` leaves the loss a differentiable
            zero (the paper), ``"uniform"`` gives every sample 1/C.
        on_nonfinite: ``"raise"`` a :class:`NonFiniteError`, or ``"drop"`` the samples at fault and
            do the step without them.

    Raises:
        TypeError: If ``model`` is not a module, or ``loss`` or ``selector`` cannot be called.
        ValueError: If not exactly one of ``loss`` and ``forward`` is given, if the loss reduces
            over the batch, if a setting has no such value, or for ``on_nonfinite="drop"`` on a
            ``DistributedDataParallel`` model.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss | None = None,
        *,
        forward: Forward | None = None,
        scorer: ScorerLike | None = None,
        selector: Selector | None = None,
        trusted_coefficient: float = 0.0,
        granularity: Granularity = "sample",
        on_empty: OnEmpty = "skip",
        on_nonfinite: OnNonfinite = "raise",
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}.")
        if (loss is None) == (forward is None):
            raise ValueError(
                "give exactly one of loss (for batches (input, target)) and forward (a function "
                "(model, batch) -> losses)."
            )
        if loss is not None:
            if not callable(loss) or isinstance(loss, type):
                raise TypeError(
                    f"loss must be a function (output, target) -> losses, or an instance such as "
                    f'nn.CrossEntropyLoss(reduction="none"); got {loss!r}.'
                )
            check_reduction(loss)
            forward = SupervisedForward(loss)
        assert forward is not None
        _check_choice("granularity", granularity, Granularity)
        _check_choice("on_empty", on_empty, OnEmpty)
        _check_choice("on_nonfinite", on_nonfinite, OnNonfinite)
        if not 0 <= trusted_coefficient < float("inf"):
            raise ValueError(
                f"trusted_coefficient must be a finite number >= 0, got {trusted_coefficient!r}."
            )
        if scorer is None:
            scorer = 0.5 * GradientSimilarity() + 0.5 * LastLayerGradient()
        if selector is None:
            selector = KeepAll()
        if not callable(selector) or isinstance(selector, type):
            raise TypeError(
                f"the selector must be a function from weights to weights, or an instance such as "
                f"KeepAll(); got {selector!r}."
            )
        if on_nonfinite == "drop" and any(
            isinstance(part, nn.parallel.DistributedDataParallel) for part in unwrapped(model)
        ):
            raise ValueError(
                'on_nonfinite="drop" runs a batch again without its bad samples, which leaves the '
                "other ranks of a DistributedDataParallel model waiting. Filter such samples in "
                "the data loader."
            )
        self.scorer: Mixture = as_mixture(scorer).active()
        self.selector = selector
        self.trusted_coefficient = trusted_coefficient
        self.on_empty = on_empty
        self.on_nonfinite = on_nonfinite
        self._losses = UnitLosses(forward, granularity)
        self._objective = Objective(model, self._losses)

    @classmethod
    def paper(cls, model: nn.Module, loss: Loss | None = None, **options: Any) -> MetaReweighter:
        """Return the method of Hussain et al. exactly, whatever the defaults are.

        Gradient similarity and last-layer gradient, mixed at λ = 0.5 (Eq. 8), rectified at 1/C,
        nothing trained on the trusted batch, a step without a kept sample skipped.

        Args:
            model: As for the class.
            loss: As for the class.
            options: ``forward``, ``granularity`` and ``on_nonfinite``, as for the class.

        Raises:
            TypeError: If an option would change the method.
        """
        own = {"scorer", "selector", "trusted_coefficient", "on_empty"} & options.keys()
        if own:
            raise TypeError(
                f"MetaReweighter.paper() is a method as published; {', '.join(sorted(own))} would "
                f"change it. Use MetaReweighter() itself."
            )
        return cls(
            model,
            loss,
            scorer=0.5 * GradientSimilarity() + 0.5 * LastLayerGradient(),
            selector=Rectify(),
            trusted_coefficient=0.0,
            on_empty="skip",
            **options,
        )

    @property
    def model(self) -> nn.Module:
        """The model as it was given."""
        return self._objective.model

    @property
    def granularity(self) -> Granularity:
        """Whether samples or elements of the loss map are weighed."""
        return self._losses.granularity

    def __repr__(self) -> str:
        return (
            f"MetaReweighter({type(self.model).__name__}, scorer={self.scorer!r}, "
            f"selector={self.selector!r}, trusted_coefficient={self.trusted_coefficient:g}, "
            f"granularity={self.granularity!r})"
        )

    def __call__(self, noisy: Any, trusted: Any = None) -> ReweightedStep:
        """Weigh the noisy batch and return the step to back-propagate.

        Args:
            noisy: The C samples to be weighed and trained on.
            trusted: The samples that judge them; may be ``None`` where no scorer asks for them.

        Returns:
            The step; call ``step.loss.backward()``, and skip the optimiser if ``step.kept == 0``.

        Raises:
            RuntimeError: If gradients are disabled, or under ``torch.inference_mode``.
            ValueError: If the loss returns a scalar, a scorer or selector returns another shape
                or negative weights, or the trusted batch is missing.
            NonFiniteError: If a loss or score is not finite (``on_nonfinite="raise"``).
        """
        if not torch.is_grad_enabled() and not torch.is_inference_mode_enabled():
            raise RuntimeError(
                "a training step needs gradients, but they are disabled here. Call the reweighter "
                "outside torch.no_grad(), or use reweighter.score() for weights alone."
            )
        return self._step(noisy, trusted, training=True)

    def score(self, noisy: Any, trusted: Any = None) -> ReweightedStep:
        """Weigh the noisy batch without a training pass.

        Model, gradients, buffers and random number streams are bit for bit as before.

        Args:
            noisy: The C samples to be weighed.
            trusted: The samples that judge them.

        Returns:
            The step, its loss without a graph.

        Raises:
            RuntimeError: Under ``torch.inference_mode``.
            ValueError, NonFiniteError: As in a training step.
        """
        return self._step(noisy, trusted, training=False)

    def _step(self, noisy: Any, trusted: Any, *, training: bool) -> ReweightedStep:
        if torch.is_inference_mode_enabled():
            raise RuntimeError(
                "scores are derivatives, and torch.inference_mode() rules them out. Call the "
                "reweighter outside it; score() also works under torch.no_grad()."
            )

        def attempt(noisy: Any, trusted: Any) -> ReweightedStep:
            return self._attempt(noisy, trusted, training=training)

        if self.on_nonfinite == "drop":
            names = self.scorer.names()
            step = without_nonfinite(attempt, self._objective, names, noisy, trusted)
            return step if training else replace(step, loss=step.loss.detach())
        return attempt(noisy, trusted)

    def _attempt(self, noisy: Any, trusted: Any, *, training: bool) -> ReweightedStep:
        beta = self.trusted_coefficient
        context = ScoringContext(
            self._objective,
            noisy,
            trusted,
            granularity=self.granularity,
            training=training,
            full_trusted_gradient=beta > 0,
        )
        with context.passes.precision.for_scores():
            trusted_gradient = context.trusted_gradient() if beta > 0 else {}
            trusted_loss = context.trusted_loss
            scores = scores_by_name(self.scorer, context)
        losses = context.passes.for_training().losses
        mixed = self.scorer.mix(list(scores.values())).to(losses)
        weights = selected_weights(self.selector, mixed)
        empty = not bool(weights.any())
        if empty and self.on_empty == "uniform":
            weights = torch.full_like(weights, 1 / weights.numel())
        loss = (weights * losses).sum()
        if beta > 0:
            assert trusted_loss is not None
            parameters = context.trainable()
            term = known_gradient_term(trusted_loss, parameters, trusted_gradient)
            loss = loss + beta * term
        return ReweightedStep(
            loss=loss if training else loss.detach(),
            weights=weights,
            losses=losses.detach(),
            scores=scores,
            trusted_loss=context.trusted_loss if trusted_loss is None else trusted_loss,
            empty=empty,
        )


def _check_choice(name: str, value: object, choices: Any) -> None:
    if value not in get_args(choices):
        raise ValueError(f"{name} must be one of {get_args(choices)}, got {value!r}.")
