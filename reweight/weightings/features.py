"""What a weighting network is told of each sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from reweight._memory import RunningMean, Table
from reweight.errors import check_whole
from reweight.weightings.context import WeightingContext
from reweight.weightings.scale import Scale

Feature: TypeAlias = "str | Callable[[WeightingContext], Tensor]"

REMEMBERED = {"remembered_loss": "loss", "remembered_margin": "margin"}
CODED = {"class": "num_classes", "group": "num_groups"}
NAMES = ("loss", "margin", *REMEMBERED, *CODED)


class Features:
    """From a batch to ``(N, F)`` float32: numbers on one scale first, then classes and groups.

    Args:
        wanted: Names, or functions of the context.
        num_samples: How many ids there are, for what is remembered of each.
        num_classes: How many classes there are, for ``"class"``.
        num_groups: How many groups there are, for ``"group"``.

    Raises:
        TypeError: If one is neither a name nor a function.
        ValueError: If a name is unknown, none or one twice is given, or a number is missing.
    """

    def __init__(
        self,
        wanted: Sequence[Feature] | Feature,
        num_samples: int | None,
        num_classes: int | None,
        num_groups: int | None,
    ) -> None:
        single = isinstance(wanted, str) or callable(wanted)
        self.wanted: tuple[Feature, ...] = (wanted,) if single else tuple(wanted)  # type: ignore
        counts = {
            "num_samples": num_samples,
            "num_classes": num_classes,
            "num_groups": num_groups,
        }
        self.needs: dict[str, int | None] = {}
        self._remembered: dict[str, RunningMean] = {}
        if not self.wanted or len(set(self.wanted)) < len(self.wanted):
            raise ValueError(f"features must be one or more, each once; got {self.wanted!r}.")
        for feature in self.wanted:
            if callable(feature):
                continue
            if not isinstance(feature, str):
                raise TypeError(
                    f"a feature must be a name or a function of the WeightingContext; got "
                    f"{feature!r}."
                )
            if feature not in NAMES:
                raise ValueError(
                    f"there is no feature {feature!r}; there are {', '.join(NAMES)}, and functions "
                    f"(WeightingContext) -> (N,) or (N, F)."
                )
            asked = "num_samples" if feature in REMEMBERED else CODED.get(feature)
            if asked is None:
                continue
            count = counts[asked]
            if count is None:
                raise ValueError(f"the feature {feature!r} needs {asked}=.")
            check_whole(asked, count)
            if feature in REMEMBERED:
                self._remembered[feature] = RunningMean(Table(count), Table(count))
                self.needs["ids"] = count
            if feature == "group":
                self.needs["groups"] = count
        self._counts = counts
        self._scale = Scale()

    def learn(self, context: WeightingContext) -> None:
        """Remember what this step says of its rows, and on which scale the numbers are."""
        for name, remembered in self._remembered.items():
            assert context.ids is not None, "the reweighter asks for what is needed"
            remembered.add(context.ids, _now(REMEMBERED[name], context))
        numbers = self._numbers(context)
        if numbers is not None:
            self._scale.learn(numbers)

    def __call__(self, context: WeightingContext) -> Tensor:
        """Return ``(N, F)``; 0 where a number is not known."""
        numbers = self._numbers(context)
        blocks = [] if numbers is None else [self._scale(numbers)]
        for name in CODED:
            if name in self.wanted:
                rows = _labels(context) if name == "class" else context.groups
                assert rows is not None, "the reweighter asks for what is needed"
                codes = torch.arange(self._counts[CODED[name]] or 0, device=rows.device)
                blocks.append((rows.unsqueeze(1) == codes).to(torch.float32))
        return torch.cat(blocks, dim=1)

    def _numbers(self, context: WeightingContext) -> Tensor | None:
        blocks: list[Tensor] = []
        for feature in self.wanted:
            if feature in CODED:
                continue
            if callable(feature):
                values = _checked(feature(context), context, feature)
            elif feature in REMEMBERED:
                assert context.ids is not None
                now = _now(REMEMBERED[feature], context)
                values = self._remembered[feature].read(context.ids, now)
            else:
                values = _now(feature, context)
            blocks.append(values.detach().reshape(len(context.losses), -1).to(torch.float32))
        return torch.cat(blocks, dim=1) if blocks else None

    def state_dict(self) -> dict[str, Any]:
        """Return what is remembered."""
        remembered = {name: means.state_dict() for name, means in self._remembered.items()}
        return {"scale": self._scale.state_dict(), **remembered}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what :meth:`state_dict` returned.

        Raises:
            ValueError: If it is of other features, or of another data set.
        """
        if set(state) != {"scale", *self._remembered}:
            raise ValueError(
                f"the state is of a network that remembers {sorted(set(state) - {'scale'})}, and "
                f"this one remembers {sorted(self._remembered)}. Build it with the same features."
            )
        for name, means in self._remembered.items():
            means.load_state_dict(state[name])
        self._scale.load_state_dict(state["scale"])

    def __repr__(self) -> str:
        return repr([getattr(f, "__name__", f) if callable(f) else f for f in self.wanted])


def _now(name: str, context: WeightingContext) -> Tensor:
    if name == "loss":
        return context.losses
    if context.margins is None:
        raise ValueError(
            "the margin is not known: the model's output is not one number a class with a class "
            'given for each, or forward= stands in for the loss. Use "loss" features, or a '
            "function of the WeightingContext."
        )
    return context.margins


def _labels(context: WeightingContext) -> Tensor:
    if context.labels is None:
        raise ValueError(
            "the class is not known: the batch's target is no class index, or forward= stands in "
            "for the loss. Use a function of the WeightingContext as a feature."
        )
    return context.labels


def _checked(values: Any, context: WeightingContext, feature: Any) -> Tensor:
    count = len(context.losses)
    if not isinstance(values, Tensor) or values.dim() not in (1, 2) or len(values) != count:
        got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        name = getattr(feature, "__name__", repr(feature))
        raise ValueError(
            f"the feature {name} must return ({count},) or ({count}, F), a number or several for "
            f"each of context.losses; got {got}."
        )
    return values
