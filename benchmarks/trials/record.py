"""What is kept of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from benchmarks.trials.cells import Cell, Run, Validated


@dataclass
class Record:
    """One run's results; accuracies and shares are between 0 and 1.

    Attributes:
        run: Which.
        diverged: Whether its numbers became non-finite; it is then worth what chance is.
        validation: The metric after each epoch.
        test: The metric after the last epoch.
        early_epoch: Epoch of the best validation, from 0, the first of equals.
        early_test: The metric on the test set after that epoch.
        rare_test: On the rarer half of the classes, under imbalance.
        weight_on_clean: Per epoch, the share of weight on rightly labelled samples; ``None``
            where nobody knows them, under imbalance, and for a row without weights.
        clean_share: Their share of the pool.
        weight_on_rare: Per epoch, the share of weight on the rarer half of the classes; only
            under imbalance.
        rare_share: Their share of the pool.
        weight_by_group: Over the last epoch, the mean weight of a sample of each source, as a
            multiple of the mean weight of all.
        kept: Per epoch, the mean share of a batch that has positive weight.
        effective: Per epoch, the mean effective sample size as a share of the batch.
        empty_steps: Steps in which nothing was kept.
        pool_truth: The metric on the pool at the end, by its true labels.
        pool_labels: The same by the labels given, that is, what has been memorised.
        teacher: Test accuracy of the teacher whose labels are the noise.
        found: By way of finding wrong labels, what it found: ``auroc``, ``precision`` (average),
            ``at_number`` (precision at the true number of wrong labels), and ``suggested`` (share
            of the wrong labels for which the label suggested is right).
        seconds: Wall-clock time.
    """

    run: Run
    diverged: bool = False
    validation: list[float] = field(default_factory=list)
    test: float = 0.0
    early_epoch: int = 0
    early_test: float = 0.0
    rare_test: float | None = None
    weight_on_clean: list[float] | None = None
    clean_share: float | None = None
    weight_on_rare: list[float] | None = None
    rare_share: float | None = None
    weight_by_group: dict[str, float] | None = None
    kept: list[float] | None = None
    effective: list[float] | None = None
    empty_steps: int = 0
    pool_truth: float | None = None
    pool_labels: float | None = None
    teacher: float | None = None
    found: dict[str, dict[str, float]] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def validated(self) -> Validated:
        """What tuning looks at."""
        return Validated(self.validation[-1], self.validation[self.early_epoch])


def from_json(content: dict[str, Any]) -> Record:
    """Return the record that ``dataclasses.asdict`` was made of.

    Raises:
        KeyError, TypeError: If it was not.
    """
    run = content["run"]
    return Record(
        **{**content, "run": Run(Cell(**run["cell"]), float(run["rate"]), int(run["seed"]))}
    )
