"""What was hoped for, beside what came out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmarks.trials.report.finding_tables import by_way
from benchmarks.trials.report.outcomes import Outcome, Outcomes
from benchmarks.trials.report.spreadsheets import over_epochs
from benchmarks.trials.report.statistics import mean_and_deviation
from benchmarks.trials.rows import RECIPE

PLAIN, TRUSTED, RANDOM, DEFAULT, ORACLE = (
    *("plain", "plain+trusted", "random", "default"),
    "clean+trusted",
)
_OURS = "label_quality"


@dataclass(frozen=True)
class Verdict:
    """One aim: whether it was met (``None``: not known), and the numbers."""

    aim: str
    met: bool | None
    numbers: str

    def line(self) -> str:
        """Return it as a row of a table."""
        said = "not known yet" if self.met is None else "met" if self.met else "**not met**"
        return f"| {self.aim} | {said} | {self.numbers} |"


Aim = Callable[[Outcomes], list[Verdict]]
Aims = Sequence[Aim]


def aims_table(aims: Aims, found: Outcomes) -> str:
    """Return all verdicts as a table; an empty text if there are none."""
    verdicts = [verdict for aim in aims for verdict in aim(found)]
    if not verdicts:
        return ""
    head = "## Aims\n\n| aim | | numbers |\n|---|---|---|\n"
    return head + "\n".join(verdict.line() for verdict in verdicts)


def never_below_trusted(found: Outcomes) -> list[Verdict]:
    """On every task the recipe is at least plain + trusted loss, minus its spread over seeds."""
    verdicts = []
    for task in found.plan:
        for size in task.trusted:
            ours, theirs = (_mean(found.row(task, size, row)) for row in (RECIPE, TRUSTED))
            control = found.row(task, size, TRUSTED)
            aim = f"recipe ≥ plain+trusted − its spread: {task.name}, {size} {task.unit}"
            if ours is None or theirs is None or control is None:
                continue
            spread = mean_and_deviation([r.test for r in control.records.values()])[1] or 0.0
            numbers = f"{ours:.1f} to {theirs:.1f} ± {100 * spread:.1f}"
            verdicts.append(Verdict(aim, ours >= theirs - 100 * spread, numbers))
    return verdicts


def default_never_misleads(found: Outcomes) -> list[Verdict]:
    """``MetaReweighter(model, loss)`` gives wrong labels no more than their share."""
    verdicts = []
    for task in found.plan:
        for size in task.trusted:
            outcome = found.row(task, size, DEFAULT)
            weights = outcome.values(lambda r: over_epochs(r.weight_on_clean)) if outcome else []
            shares = outcome.values(lambda r: r.clean_share) if outcome else []
            if weights and shares:
                ours, theirs = fmean(weights), fmean(shares)
                aim = f"default gives wrong labels no more than their share: {task.name}, {size} "
                numbers = f"{1 - ours:.1%} of the weight to {1 - theirs:.1%} of the labels"
                verdicts.append(Verdict(aim + task.unit, ours >= theirs, numbers))
    return verdicts


def share_of_the_way(*tasks: str) -> Aim:
    """The recipe goes 85 % of the way to the oracle, and half of it from plain's best epoch."""

    def aim(found: Outcomes) -> list[Verdict]:
        verdicts = []
        for task in (task for task in found.plan if task.name in tasks):
            for size in task.trusted:
                plain = found.row(task, size, PLAIN)
                ours, mixed, oracle = (
                    _mean(found.row(task, size, row)) for row in (RECIPE, TRUSTED, ORACLE)
                )
                last, stopped = _mean(plain), plain.mean_stopped() if plain else None
                starts = {
                    "the better of plain and plain+trusted, last epoch": (
                        None if last is None or mixed is None else max(last, mixed),
                        0.85,
                    ),
                    "plain's best epoch": (None if stopped is None else 100 * stopped, 0.5),
                }
                for name, (start, wanted) in starts.items():
                    text = f"recipe goes {wanted:.0%} of the way from {name}: {task.name}"
                    verdicts.append(_way(text, start, ours, oracle, wanted))
        return verdicts

    return aim


def above_controls(*tasks: str, size: int, by: float) -> Aim:
    """The recipe is so many points above plain + trusted loss, and above random weights."""

    def aim(found: Outcomes) -> list[Verdict]:
        verdicts = []
        for task in (task for task in found.plan if task.name in tasks and size in task.trusted):
            ours, mixed, random = (
                _mean(found.row(task, size, row)) for row in (RECIPE, TRUSTED, RANDOM)
            )
            text = f"recipe ≥ plain+trusted + {by:g}, and > random: {task.name}, {size} {task.unit}"
            if ours is None or mixed is None or random is None:
                verdicts.append(Verdict(text, None, "–"))
                continue
            numbers = f"{ours:.1f} to {mixed:.1f} ({ours - mixed:+.1f}) and {random:.1f}"
            verdicts.append(Verdict(text, ours >= mixed + by and ours > random, numbers))
        return verdicts

    return aim


def best_list(found: Outcomes) -> list[Verdict]:
    """``label_quality`` is within 0.005 of every peer on every set, and 0.02 better on average."""
    ways = {
        way: {s: fmean(values) for s, values in sets.items()}
        for way, sets in by_way(found, "auroc").items()
    }
    ours = ways.pop(_OURS, {})
    ways = {way: sets for way, sets in ways.items() if not way.startswith(_OURS)}
    if not ours or not ways:
        return []
    verdicts = []
    for where, value in ours.items():
        peers = {way: sets[where] for way, sets in ways.items() if where in sets}
        if peers:
            best = max(peers, key=lambda way: peers[way])
            numbers = f"{value:.3f} to {peers[best]:.3f} ({best})"
            aim = f"AUROC of label_quality ≥ every peer − 0.005: {where[0]}"
            verdicts.append(Verdict(aim, value >= peers[best] - 0.005, numbers))
    whole = {way: fmean(sets.values()) for way, sets in ways.items() if set(sets) >= set(ours)}
    if whole:
        best = max(whole, key=lambda way: whole[way])
        mean = fmean(ours.values())
        numbers = f"{mean:.3f} to {whole[best]:.3f} ({best}), {mean - whole[best]:+.3f}"
        aim = f"mean AUROC over {len(ours)} sets 0.02 above the best single peer"
        verdicts.append(Verdict(aim, mean >= whole[best] + 0.02, numbers))
    return verdicts


def right_suggestions(*tasks: str, share: float) -> Aim:
    """Labels suggested are right for such a share of the wrong ones."""

    def aim(found: Outcomes) -> list[Verdict]:
        return [
            Verdict(
                f"labels suggested are right for {share:.0%} of the wrong ones: {where[0]}",
                fmean(values) >= share,
                f"{fmean(values):.1%}",
            )
            for where, values in by_way(found, "suggested").get(_OURS, {}).items()
            if where[0] in tasks
        ]

    return aim


def _mean(outcome: Outcome | None) -> float | None:
    mean = None if outcome is None else outcome.mean()
    return None if mean is None else 100 * mean


def _way(
    text: str, start: float | None, ours: float | None, oracle: float | None, wanted: float
) -> Verdict:
    if start is None or ours is None or oracle is None:
        return Verdict(text, None, "–")
    numbers = f"{start:.1f} → {ours:.1f} → {oracle:.1f}"
    if oracle <= start:
        return Verdict(text, ours >= oracle, f"{numbers}: nothing to gain")
    way = (ours - start) / (oracle - start)
    return Verdict(text, way >= wanted, f"{numbers}: {way:.0%}")
