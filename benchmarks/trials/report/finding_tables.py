"""Tables of how well each way finds the wrong labels."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from benchmarks.trials.report.outcomes import Outcomes
from benchmarks.trials.report.statistics import mean_and_deviation

_MEASURES = {
    "auroc": "AUROC: the chance that a wrong label is more suspicious than a right one",
    "precision": "Average precision",
    "at_number": "Precision among as many labels as are wrong",
    "suggested": "Share of all wrong labels for which the label suggested is right",
}
Set = tuple[str, int]
"""A task and a size of trusted set."""


def by_way(found: Outcomes, measure: str) -> dict[str, dict[Set, list[float]]]:
    """Return a measure by way and set, a number a seed."""
    ways: dict[str, dict[Set, list[float]]] = {}
    for task in found.plan:
        for size in task.trusted:
            for name in task.rows:
                outcome = found.row(task, size, name)
                for record in outcome.records.values() if outcome else ():
                    for way, values in record.found.items():
                        if measure in values:
                            sets = ways.setdefault(way, {})
                            sets.setdefault((task.name, size), []).append(values[measure])
    return ways


def finding_tables(found: Outcomes) -> list[str]:
    """Return a table a measure; none if wrong labels were not looked for."""
    tables = []
    for measure, what in _MEASURES.items():
        ways = by_way(found, measure)
        if ways:
            tables.append(f"## {what}\n\n{_table(ways, several_sizes=_several_sizes(found))}")
    return tables


def _several_sizes(found: Outcomes) -> bool:
    return any(len(task.trusted) > 1 for task in found.plan)


def _table(ways: Mapping[str, Mapping[Set, list[float]]], *, several_sizes: bool) -> str:
    sets = list(dict.fromkeys(s for by_set in ways.values() for s in by_set))
    names = [f"{task}, {size}" if several_sizes else task for task, size in sets]
    lines = [f"| way | {' | '.join(names)} | mean |", "|---" * (len(sets) + 2) + "|"]
    means = {s: max(fmean(by[s]) for by in ways.values() if s in by) for s in sets}
    for way, by_set in ways.items():
        cells = [_cell(by_set.get(s), means[s]) for s in sets]
        whole = len(by_set) == len(sets)
        mean = f"{fmean(fmean(values) for values in by_set.values()):.3f}" if whole else "–"
        lines.append(f"| {way} | {' | '.join(cells)} | {mean} |")
    return "\n".join(lines)


def _cell(values: list[float] | None, best: float) -> str:
    if not values:
        return "–"
    mean, deviation = mean_and_deviation(values)
    text = f"{mean:.3f}" + ("" if deviation is None else f" ± {deviation:.3f}")
    return f"**{text}**" if mean == best else text
