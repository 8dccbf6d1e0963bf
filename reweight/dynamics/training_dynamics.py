"""What a training says of each sample, gathered while it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reweight._memory import Table
from reweight.dynamics.label_issues import LabelIssues
from reweight.dynamics.labels import as_labels, check_names
from reweight.dynamics.observed import NAMES, log_probabilities, observed
from reweight.dynamics.predictions import Predicted, Probabilities, from_state, predicted
from reweight.dynamics.quality import label_quality
from reweight.dynamics.report import write_report
from reweight.weightings import WeightingContext


class TrainingDynamics:
    """Remember of every sample how its training went, and find the labels that look wrong.

    Give it to the reweighter, ``MetaReweighter(..., dynamics=dynamics)``, and ``ids=`` to each
    call; it learns from numbers that a step has anyway, in float32 on the model's device, and
    waits for nothing. Plain training (``scorer=Uniform()``) will do; from a reweighted one the
    list of wrong labels is better.

    Of each id it keeps, as means over the steps it was in (a step in which it has several losses,
    such as the elements of a map, counts once, with their mean):

    - the loss;
    - the margin (Pleiss et al. 2020, "area under the margin"), the probability of the class given
      and that of the likeliest other, where the losses are made of logits and classes;
    - the predicted probabilities of all classes, where these fit into ``max_bytes``; beyond it
      only which other class leads;
    - the standardised score and how often it was below zero, where a scorer has a sign;
    - the weight, mean and last, relative to equal weights: 1 is a share like the average's.

    Means are over the whole training: those of its late part alone found fewer wrong labels.

    Args:
        num_samples: How many ids there are: ``ids=`` in each call are below it.
        max_bytes: How much the predicted probabilities, 4 bytes an id and class, may take.

    Raises:
        ValueError: If ``num_samples`` is no integer of at least 1, or ``max_bytes`` is negative.
    """

    def __init__(self, num_samples: int, *, max_bytes: int = 256 * 2**20) -> None:
        if max_bytes < 0:
            raise ValueError(f"max_bytes must be an integer >= 0, got {max_bytes!r}.")
        self.num_samples = num_samples
        self.max_bytes = max_bytes
        self.needs: dict[str, int | None] = {"ids": num_samples}
        self._sums = Table(num_samples, (len(NAMES),))
        self._seen = torch.zeros(num_samples, device="cpu")
        self._last_weight = torch.full((num_samples,), float("nan"), device="cpu")
        self._given = torch.full((num_samples,), -1, dtype=torch.long, device="cpu")
        self._predicted: Predicted | None = None

    def learn(self, context: WeightingContext, weights: Tensor) -> None:
        """Take in a step; the reweighter calls it once the weights are known.

        Args:
            context: The N losses of the step, of all ranks.
            weights: ``(N,)``, each over what it would be if all were equal.
        """
        rows = context.ids
        assert rows is not None, "the reweighter asks for what is needed"
        if rows.numel() == 0:
            return
        self._to(rows.device)
        times = self._sums.times(rows)
        logs = log_probabilities(context)
        columns = observed(context, weights.detach(), logs)
        self._sums.add(rows, columns / times.unsqueeze(1))
        # Of a row that comes several times, all write the same.
        self._seen[rows] = self._seen[rows] + 1
        self._last_weight[rows] = 0.0
        self._last_weight.index_add_(0, rows, columns[:, NAMES.index("weight")] / times)
        labels = context.labels
        if labels is None:
            return
        self._given[rows] = labels
        several = torch.where(self._given[rows] != labels, -1, labels)
        self._given.scatter_reduce_(0, rows, several, "amin")
        if logs is not None:
            if self._predicted is None:
                self._predicted = predicted(self.num_samples, logs.shape[1], self.max_bytes)
            self._predicted.learn(rows, times, logs, labels)

    def _to(self, device: torch.device) -> None:
        if self._seen.device != device:
            self._seen, self._given = self._seen.to(device), self._given.to(device)
            self._last_weight = self._last_weight.to(device)

    @property
    def times_seen(self) -> Tensor:
        """In how many steps each id was, ``(num_samples,)`` int64."""
        return self._seen.long()

    @property
    def given_labels(self) -> Tensor:
        """The class given when it was last seen, ``(num_samples,)`` int64.

        -1: never seen, several in one step (a mask), or not known.
        """
        return self._given.clone()

    @property
    def mean_loss(self) -> Tensor:
        """``(num_samples,)``, NaN where never seen, as in all that follow."""
        return self._mean("loss", self._seen)

    @property
    def mean_margin(self) -> Tensor:
        """The logit of the class given less the largest other; NaN where that is not known."""
        return self._mean("margin", self._sum("labelled"))

    @property
    def given_probability(self) -> Tensor:
        """The geometric mean of the probability of the class given; NaN where not known."""
        return self._mean("log_probability", self._sum("predicted")).exp()

    @property
    def other_probability(self) -> Tensor:
        """The mean probability of the likeliest other class; NaN where not known."""
        return self._mean("other", self._sum("predicted"))

    @property
    def similarity(self) -> Tensor:
        """The sum of the standardised scores, above 0 where it helped; NaN without any."""
        return torch.where(self._sum("scored") > 0, self._sum("similarity"), float("nan"))

    @property
    def share_negative(self) -> Tensor:
        """In which share of the steps the score was below 0; NaN without any."""
        return self._mean("negative", self._sum("scored"))

    @property
    def mean_weight(self) -> Tensor:
        """The mean of the relative weights: 1 is a share like the average's."""
        return self._mean("weight", self._seen)

    @property
    def last_weight(self) -> Tensor:
        """The relative weight in the step it was last in."""
        return self._last_weight.clone()

    @property
    def mean_probabilities(self) -> Tensor | None:
        """``(num_samples, K)``; ``None`` if there were no logits, or they are beyond the limit."""
        if not isinstance(self._predicted, Probabilities):
            return None
        sums = self._predicted.table.values
        total = sums.sum(dim=1, keepdim=True)
        return torch.where(total > 0, sums / total, float("nan"))

    def _sum(self, name: str) -> Tensor:
        return self._sums.values[:, NAMES.index(name)]

    def _mean(self, name: str, count: Tensor) -> Tensor:
        return torch.where(count > 0, self._sum(name) / count, float("nan"))

    def find_label_issues(
        self, labels: Any = None, *, class_names: Sequence[str] | None = None
    ) -> LabelIssues:
        """Return one row an id, the label that looks most wrong first.

        With logits, the quality of a label is g / (g + o): g the geometric mean, over the
        training, of the probability of the class given, o the largest mean probability of
        another. Without, it falls with the mean loss. It is then stretched so that it is below 0.5
        exactly for the issues. How many are issues is read off the training: the mean
        log-probabilities of the labels (the losses) are cut in two where the groups differ most
        (Otsu 1979), and that cut counts as far as it says that a label is wrong: g is at most
        K^(-2/3), K the number of classes (the two groups of losses stand apart more than two
        halves of a flat distribution would). So none may be an issue.

        The label suggested is the likeliest class: of an issue, or where o is above g, the other
        one that o is of, else the one given. ``parts["other_label"]`` is that other one of every
        id.

        Args:
            labels: The class given to each id, ``(num_samples,)`` integers, a tensor, an array or
                a list; ``None``: those seen in training.
            class_names: The names of the classes, to be shown.

        Returns:
            The table. Ids that were never seen come last, with a quality of NaN, and are no issue.

        Raises:
            TypeError: If labels are no integers.
            ValueError: If they are not one an id, or others than those the model was trained on;
                if there are fewer class names than classes; if no step was learnt from.
        """
        seen = self._seen.cpu() > 0
        if not seen.any():
            raise ValueError(
                "nothing was learnt yet. Pass dynamics= to the MetaReweighter and ids= to its "
                "calls, and train before you ask."
            )
        trained = self._given.cpu()
        given = trained if labels is None else as_labels(labels, trained)
        likeliest, other = self._likeliest_other(given, seen)
        if class_names is not None:
            check_names(class_names, given, likeliest)
        measured = {
            "times_seen": self.times_seen,
            "mean_loss": self.mean_loss,
            "mean_margin": self.mean_margin,
            "given_probability": self.given_probability,
            "other_probability": other,
            "other_label": likeliest,
            "similarity": self.similarity,
            "share_negative": self.share_negative,
            "mean_weight": self.mean_weight,
            "last_weight": self.last_weight,
        }
        parts = {name: values.cpu() for name, values in measured.items()}
        quality, issue = label_quality(
            parts["mean_loss"],
            self._mean("log_probability", self._sum("predicted")).cpu(),
            other,
            None if self._predicted is None else self._predicted.classes,
        )
        differs = (issue | (other > parts["given_probability"])) & (likeliest >= 0)
        suggested = torch.where(differs, likeliest, given)
        order = quality.nan_to_num(float("inf")).argsort(stable=True)
        return LabelIssues(
            id=order,
            given_label=given[order],
            suggested_label=suggested[order],
            label_quality=quality[order],
            is_label_issue=issue[order],
            parts={name: values[order] for name, values in parts.items()},
            class_names=None if class_names is None else tuple(map(str, class_names)),
        )

    def _likeliest_other(self, given: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Return the likeliest class other than ``given``, and its mean probability."""
        probability = self.other_probability.cpu()
        if self._predicted is None:
            return torch.full_like(given, -1), probability
        known = seen & (given >= 0)
        likeliest = self._predicted.other(given).cpu().masked_fill(~known, -1)
        means = self.mean_probabilities
        if means is not None:
            its_own = means.cpu().gather(1, likeliest.clamp(min=0).unsqueeze(1)).squeeze(1)
            probability = torch.where(likeliest >= 0, its_own, probability)
        return likeliest, probability

    def report(
        self,
        path: str | Path,
        issues: LabelIssues | None = None,
        *,
        images: Any = None,
        texts: Any = None,
        class_names: Sequence[str] | None = None,
        title: str = "Label issues",
        worst: int = 24,
    ) -> Path:
        """Write one HTML file that opens anywhere: no network, no script.

        Counts, the worst samples as pictures or as text, which class was given and which is
        suggested, and how quality, margin and loss of the issues differ from those of the rest.

        Args:
            path: The file; it is replaced whole, once the new one is written.
            issues: What :meth:`find_label_issues` returned; ``None``: it is called.
            images: The picture of each id: a data set or sequence by id (of a tuple its first
                element is taken), or a function ``id -> image``. A picture is a tensor or array
                ``(H, W)``, ``(C, H, W)`` or ``(H, W, C)``, a volume ``(D, H, W)`` or
                ``(1, D, H, W)``, of which the three middle slices are shown, or a PIL image.
                Floating-point ones are stretched from their smallest to their largest value.
            texts: The text of each id, likewise.
            class_names: The names of the classes, if ``issues`` have none.
            title: The heading.
            worst: How many samples are shown.

        Returns:
            The path.

        Raises:
            TypeError: If a picture is no such thing.
            ValueError: The same, or as in :meth:`find_label_issues`.
        """
        if issues is None:
            issues = self.find_label_issues(class_names=class_names)
        elif class_names is not None:
            issues = replace(issues, class_names=tuple(map(str, class_names)))
        return write_report(
            Path(path), issues, images=images, texts=texts, title=title, worst=worst
        )

    def state_dict(self) -> dict[str, Any]:
        """Return what is remembered, as plain containers and tensors."""
        return {
            "sums": self._sums.state_dict(),
            "seen": self._seen,
            "last_weight": self._last_weight,
            "given": self._given,
            "predicted": None if self._predicted is None else self._predicted.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what :meth:`state_dict` returned.

        Raises:
            ValueError: If it is of another number of samples.
        """
        self._sums.load_state_dict(state["sums"])
        self._seen = state["seen"].detach().to(self._seen, copy=True)
        self._last_weight = state["last_weight"].detach().to(self._last_weight, copy=True)
        self._given = state["given"].detach().to(self._given, copy=True)
        found = state["predicted"]
        self._predicted = None if found is None else from_state(self.num_samples, found)

    def __repr__(self) -> str:
        return f"TrainingDynamics({self.num_samples})"
