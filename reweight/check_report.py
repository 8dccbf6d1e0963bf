"""What :meth:`MetaReweighter.check` found out about a model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ScorerCheck:
    """One scorer, in one kind of call, beside plain backward passes.

    Attributes:
        name: The scorer's name.
        call: ``"step"`` (a training step) or ``"score"``.
        error: Largest difference from the reference, in units of the reference's largest
            magnitude; ``None`` where a scorer has no reference (a function of your own, the
            controls).
        correlation: Spearman's rank correlation with the reference; ``None`` likewise.
        tolerance: The largest ``error`` that counts as agreement, for the model's precision.
        way: Which path ran, such as ``"followed beside the training pass"``.
        passes: Scoring passes of the model that the call made, the training pass not counted,
            when nothing was left to find out.
        reason: Why it was not a cheaper way; empty for the cheapest.
        refused: What was raised, where the scorer does not go on this model; empty otherwise.
        note: What to know about the comparison.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from reweight import LossMagnitude, MetaReweighter
        >>> model, loss = nn.Linear(4, 3), nn.CrossEntropyLoss(reduction="none")
        >>> batch = torch.randn(6, 4), torch.randint(3, (6,))
        >>> first = MetaReweighter(model, loss, scorer=LossMagnitude()).check(batch).scorers[0]
        >>> first.name, first.call, first.agrees
        ('loss_magnitude', 'step', True)
    """

    name: str
    call: str
    error: float | None
    correlation: float | None
    tolerance: float
    way: str = ""
    passes: int = 0
    reason: str = ""
    refused: str = ""
    note: str = ""

    @property
    def agrees(self) -> bool:
        """Whether the scores are those of plain backward passes, or have none to compare with."""
        return not self.refused and (self.error is None or self.error <= self.tolerance)


@dataclass(frozen=True)
class CheckReport:
    """Whether scores are right on a model; print it.

    Attributes:
        scorers: The comparisons, a scorer and a kind of call each.
        facts: What the model shares, freezes, hooks, caches, and writes into, in sentences.
        samples: How many losses were compared: C.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from reweight import MetaReweighter
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> batch = lambda n: (torch.randn(n, 4), torch.randint(3, (n,)))
        >>> report = MetaReweighter(model, nn.CrossEntropyLoss(reduction="none")).check(
        ...     batch(6), batch(4)
        ... )
        >>> report.ok
        True
    """

    scorers: tuple[ScorerCheck, ...]
    facts: tuple[str, ...] = ()
    samples: int = 0

    @property
    def ok(self) -> bool:
        """Whether every scorer agrees with plain backward passes wherever it has a reference."""
        return all(row.agrees for row in self.scorers)

    def __str__(self) -> str:
        verdict = "right" if self.ok else "NOT right"
        lines = [
            f"Scores are {verdict} on this model ({self.samples} losses, beside "
            f"{self.samples} + 1 plain backward passes).",
            "",
        ]
        for row in self.scorers:
            lines.append(f"{row.name}, {row.call}: {_agreement(row)}")
            if row.refused:
                lines.append(f"    refused: {row.refused}")
                continue
            lines.append(f"    {row.way}; {row.passes} scoring pass(es) a call")
            lines += [f"    {text}" for text in (row.reason, row.note) if text]
        if self.facts:
            lines += ["", "The model:", *(f"  - {fact}" for fact in self.facts)]
        return "\n".join(lines)


def _agreement(row: ScorerCheck) -> str:
    if row.refused:
        return "refused"
    if row.error is None:
        return "nothing to compare with"
    rank = "" if row.correlation is None else f", rank correlation {row.correlation:.3f}"
    word = "agrees" if row.agrees else "DIFFERS"
    return f"{word} (largest difference {row.error:.1e} of the largest score{rank})"
