"""The report as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from benchmarks.trials.plans import TaskPlan
from benchmarks.trials.record import Record
from benchmarks.trials.report.aims import Aims, aims_table
from benchmarks.trials.report.finding_tables import finding_tables
from benchmarks.trials.report.outcomes import Outcome, Outcomes
from benchmarks.trials.report.spreadsheets import of_run
from benchmarks.trials.report.statistics import (
    Difference,
    mean_and_deviation,
    paired_difference,
)
from benchmarks.trials.rows import ROWS

_CONTROLS = ("plain", "plain+trusted")


def report_text(
    title: str, found: Outcomes, aims: Aims, about: Mapping[str, str], figures: Sequence[str]
) -> str:
    """Return the report; what is missing is said, not left out in silence."""
    parts = [_head(title, about), _missing(found), aims_table(aims, found)]
    parts += finding_tables(found)
    for task in found.plan:
        parts.append(f"## {task.name}\n\n{_about_task(task)}")
        parts += [_table(found, task, size) for size in task.trusted]
    parts.append("\n\n".join(f"![{name.partition('.')[0]}]({name})" for name in figures))
    parts.append(_rows(found))
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(title: str, about: Mapping[str, str]) -> str:
    return f"""# {title}

`{about.get("command", "")}`

{", ".join(f"{name} {value}" for name, value in about.items() if name != "command")}

The learning rate of each row is tuned by validation after the last epoch: every rate on the first
seed (or seeds, where it says so), the best of them then on all. Those seeds are reported too, so
they took part in the tuning, by their validation; validation samples are neither trusted nor test,
and the test set never took part. ◂ marks a rate at the edge of the grid. Numbers are on the test
set after the last epoch, in %, mean ± standard deviation over seeds. *Best epoch* is that of the
best validation; where a second rate stands beside it, the rate was tuned for that epoch by itself.
Differences are in points, paired by seed, with a 95 % interval by Student's t, not corrected for
the number of rows. *Weight on clean* is the share of the weight that fell on rightly labelled
samples, over all epochs; equal weights have the share of the data."""


def _about_task(task: TaskPlan) -> str:
    setting = task.setting
    rates = ", ".join(f"{rate:g}" for rate in sorted(task.rates))
    size = f"a pool of {setting.pool}, " if setting.pool else ""
    tuned, seeds = (", ".join(map(str, s)) for s in (task.tuning_seeds, task.all_seeds))
    return (
        f"{setting.source}, {setting.noise or 'its own noise'}: {size}{setting.epochs} epochs in "
        f"batches of {setting.batch} and up to {setting.batch} trusted; rates "
        f"{rates}, tuned on seed {tuned}; seeds {seeds}. "
        f"Data {setting.data}, settings {setting.fingerprint}."
    )


def _missing(found: Outcomes) -> str:
    made = found.by_cell.values()
    untuned = sum(outcome.rate is None for outcome in made)
    runs = sum(outcome.missing for outcome in made if outcome.rate is not None)
    if not untuned and not runs:
        return ""
    return (
        f"**Incomplete**: of {len(made)} cells, {untuned} have no tuned rate yet, and the others "
        f"lack {runs} of their runs."
    )


def _table(found: Outcomes, task: TaskPlan, size: int) -> str:
    rows = {name: found.row(task, size, name) for name in task.rows}
    present = {name: outcome for name, outcome in rows.items() if outcome is not None}
    made = [outcome for outcome in present.values() if outcome.records]
    lines = [f"### {task.name}, {size} {task.unit}", _about_data(made)]
    rare = any(outcome.values(lambda record: record.rare_share) for outcome in made)
    kind = "rare" if rare else "clean"
    head = ["row", "n", "last epoch", "best epoch", "rate", f"weight on {kind}"]
    if rare:
        head.insert(3, "last epoch, rarer half")
    head += [f"− {control}" for control in _CONTROLS]
    table = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, outcome in present.items():
        if not outcome.records:
            table.append(f"| {name} | 0 | missing {'| ' * (len(head) - 3)}|")
            continue
        cells = [name, str(len(outcome.records)) + _diverged(outcome), _percent(outcome, "test")]
        cells += [_percent(outcome, "rare_test")] if rare else []
        cells += [_stopped(outcome), f"{outcome.rate:g}{' ◂' if outcome.at_edge else ''}"]
        cells += [_percent(outcome, f"weight_on_{kind}")]
        cells += [_against(outcome, rows.get(control)) for control in _CONTROLS]
        table.append(f"| {' | '.join(cells)} |")
    parts = [*lines, "\n".join(table), _by_source(present)]
    return "\n\n".join(part for part in parts if part)


def _about_data(made: Sequence[Outcome]) -> str:
    shares = {
        "of the labels are right": "clean_share",
        "of the pool is of the rarer half of the classes": "rare_share",
        "is the teacher's test accuracy": "teacher",
    }
    said = []
    for what, column in shares.items():
        values = [v for outcome in made for v in _values(outcome, column)]
        if values:
            said.append(f"{100 * fmean(values):.1f} % {what}")
    return f"{', '.join(said)}." if said else ""


def _by_source(present: Mapping[str, Outcome]) -> str:
    """Return what each source's samples weighed in the last epoch, where there are sources."""
    lines = []
    for name, outcome in present.items():
        weighed = [r.weight_by_group for r in outcome.records.values() if r.weight_by_group]
        if weighed:
            means = {source: fmean(w[source] for w in weighed) for source in weighed[0]}
            lines.append(f"{name} " + ", ".join(f"{s}: {m:.2f}" for s, m in means.items()))
    if not lines:
        return ""
    return (
        f"Mean weight of a sample by its source in the last epoch, where 1 is the mean of all: "
        f"{'; '.join(lines)}."
    )


def _values(outcome: Outcome, column: str) -> list[float]:
    return outcome.values(lambda record: of_run(column, record))


def _percent(outcome: Outcome, column: str) -> str:
    return _shown(_values(outcome, column))


def _stopped(outcome: Outcome) -> str:
    shown = _shown([record.early_test for record in outcome.stopped.values()])
    if outcome.stopped_rate is None or outcome.stopped_rate == outcome.rate:
        return shown
    return f"{shown} ({outcome.stopped_rate:g})"


def _shown(values: Sequence[float]) -> str:
    if not values:
        return "–"
    mean, deviation = mean_and_deviation(values)
    return f"{100 * mean:.1f}" + ("" if deviation is None else f" ± {100 * deviation:.1f}")


def _diverged(outcome: Outcome) -> str:
    count = sum(record.diverged for record in outcome.records.values())
    return f" ({count} diverged)" if count else ""


def _against(outcome: Outcome, control: Outcome | None) -> str:
    if control is None or control is outcome:
        return "–"
    gain = paired_difference(_tests(outcome.records), _tests(control.records))
    return "–" if gain is None else _signed(gain)


def _tests(records: Mapping[int, Record]) -> dict[int, float]:
    return {seed: record.test for seed, record in records.items()}


def _signed(gain: Difference) -> str:
    text = f"{100 * gain.mean:+.1f}"
    if gain.low is None or gain.high is None:
        return text
    return f"{text} ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})"


def _rows(found: Outcomes) -> str:
    names = dict.fromkeys(name for task in found.plan for name in task.rows)
    return "## Rows\n\n" + "\n".join(f"- `{name}`: {ROWS[name].what}." for name in names)
