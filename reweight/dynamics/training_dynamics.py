"""What a training says of each sample, gathered while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reweight.dynamics.label_issues import LabelIssues
from reweight.dynamics.labels import as_labels, check_names
from reweight.dynamics.quality import label_quality
from reweight.dynamics.remembered import Remembered
from reweight.dynamics.report import write_report


class TrainingDynamics(Remembered):
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

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from reweight import MetaReweighter, TrainingDynamics
        >>> x = torch.tensor([[1.0], [2.0], [-1.0], [-2.0]])
        >>> y = torch.tensor([1, 0, 0, 0])  # 1 where x > 0, but for the second, which is wrong
        >>> trusted = torch.tensor([[1.0], [-1.0]]), torch.tensor([1, 0])
        >>> model, loss = nn.Linear(1, 2, bias=False), nn.CrossEntropyLoss(reduction="none")
        >>> dynamics = TrainingDynamics(len(x))
        >>> reweighter = MetaReweighter(model, loss, dynamics=dynamics)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        >>> for _ in range(10):
        ...     optimizer.zero_grad()
        ...     reweighter((x, y), trusted, ids=torch.arange(4)).loss.backward()
        ...     optimizer.step()
        >>> issues = dynamics.find_label_issues(class_names=["below", "above"])
        >>> [(row.id, row.suggested_label) for row in issues if row.is_label_issue]
        [(1, 1)]
        >>> dynamics.report("issues.html", issues, texts=[str(row.item()) for row in x]).exists()
        True
    """

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
            check_names(class_names, issues.given_label, issues.suggested_label)
            issues = replace(issues, class_names=tuple(map(str, class_names)))
        return write_report(
            Path(path), issues, images=images, texts=texts, title=title, worst=worst
        )

    def __repr__(self) -> str:
        return f"TrainingDynamics({self.num_samples})"
