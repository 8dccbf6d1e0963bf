"""The report as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from benchmarks.label_noise.methods import METHODS
from benchmarks.label_noise.report.outcomes import Outcome, Outcomes, row
from benchmarks.label_noise.report.spreadsheets import of_run
from benchmarks.label_noise.report.statistics import (
    Difference,
    mean_and_deviation,
    paired_difference,
)
from benchmarks.label_noise.settings import Plan, Settings

_CONTROLS = ("plain", "mixed")


def report_text(
    found: Outcomes,
    settings: Settings,
    plan: Plan,
    about: Mapping[str, str],
    figures: Sequence[str],
) -> str:
    """Return the report; what is missing is said, not left out in silence."""
    parts = [_head(settings, plan, about), _missing(found, plan)]
    for noise in plan.noises:
        parts.append(f"## {noise}")
        parts += [_table(found, plan, noise, size) for size in plan.trusted]
    parts.append("\n\n".join(f"![{name.partition('.')[0]}]({name})" for name in figures))
    parts.append(_methods(plan))
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(settings: Settings, plan: Plan, about: Mapping[str, str]) -> str:
    rates = ", ".join(f"{rate:g}" for rate in sorted(plan.rates))
    steps = settings.epochs * settings.steps_per_epoch
    return f"""# Accuracy under label noise

`{about.get("command", "")}`

{", ".join(f"{name} {value}" for name, value in about.items() if name != "command")}

Pool of {settings.pool} noisy images, {settings.validation} validation images with true labels,
{steps} steps for every method ({settings.epochs} epochs of {settings.steps_per_epoch}), batches of
{settings.batch} noisy and up to {settings.batch} trusted images, SGD with momentum
{settings.momentum:g} and a cosine schedule to 0. Data {settings.data}, confusions
{settings.confusions}, settings {settings.fingerprint}.

The learning rate of each row is tuned by validation accuracy after the last epoch: {rates} on
seed 0, the best two on seed 1 as well; the best by their mean is then run on every seed (seeds in
this report: {plan.seeds}). Seeds 0 and 1 are reported too, so they took part in the tuning, by
their validation accuracy; the test set never did. ◂ marks a rate at the edge of the grid.
Accuracy is on the test set after the last epoch, in %, mean ± standard deviation over seeds;
*early* is at the epoch of the best validation accuracy. Differences are in percentage points,
paired by seed, with a 95 % interval by Student's t, not corrected for the number of rows. *Weight
on clean* is the share of the weight that fell on rightly labelled samples, over all epochs;
equal weights have the share of the data."""


def _missing(found: Outcomes, plan: Plan) -> str:
    untuned = sum(outcome.rate is None for outcome in found.values())
    runs = sum(outcome.missing for outcome in found.values() if outcome.rate is not None)
    if not untuned and not runs:
        return ""
    return (
        f"**Incomplete**: of {len(found)} cells, {untuned} have no tuned rate yet, and the others "
        f"lack {runs} of their runs on {plan.seeds} seeds."
    )


def _table(found: Outcomes, plan: Plan, noise: str, size: int) -> str:
    rows = {method: row(found, noise, size, method) for method in plan.methods}
    present = {method: outcome for method, outcome in rows.items() if outcome is not None}
    made = [outcome for outcome in present.values() if outcome.records]
    lines = [f"### {noise}, {size} trusted images", _about_data(made)]
    kind = "rare" if any("weight_on_rare" in _columns(outcome) for outcome in made) else "clean"
    head = ["method", "n", "accuracy", "early", "rate", f"weight on {kind}", "kept"]
    if kind == "rare":
        head.insert(4, "accuracy, rarer half")
    head += [f"− {control}" for control in _CONTROLS]
    table = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for method, outcome in present.items():
        if not outcome.records:
            table.append(f"| {method} | 0 | missing {'| ' * (len(head) - 3)}|")
            continue
        cells = [method, str(len(outcome.records)) + _diverged(outcome)]
        cells += [_percent(outcome, "test"), _percent(outcome, "early_test")]
        cells += [_percent(outcome, "rare_test")] if kind == "rare" else []
        cells += [f"{outcome.rate:g}{' ◂' if outcome.at_edge else ''}"]
        cells += [_percent(outcome, f"weight_on_{kind}"), _percent(outcome, "kept")]
        cells += [_against(outcome, rows.get(control)) for control in _CONTROLS]
        table.append(f"| {' | '.join(cells)} |")
    return "\n\n".join(part for part in (*lines, "\n".join(table)) if part)


def _about_data(made: Sequence[Outcome]) -> str:
    shares = {
        "of the labels are right": "clean_share",
        "of the pool is of the rarer half of the classes": "rare_share",
        "is the teacher's test accuracy": "teacher",
    }
    said = []
    for what, column in shares.items():
        values = _values(made, column)
        if values:
            said.append(f"{100 * fmean(values):.1f} % {what}")
    return f"{', '.join(said)}." if said else ""


def _values(made: Sequence[Outcome], column: str) -> list[float]:
    found = (of_run(column, record) for outcome in made for record in outcome.records.values())
    return [value for value in found if value is not None]


def _columns(outcome: Outcome) -> set[str]:
    names = ("weight_on_clean", "weight_on_rare")
    return {name for name in names if _values([outcome], name)}


def _percent(outcome: Outcome, column: str) -> str:
    values = _values([outcome], column)
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
    gain = paired_difference(
        {seed: record.test for seed, record in outcome.records.items()},
        {seed: record.test for seed, record in control.records.items()},
    )
    return "–" if gain is None else _signed(gain)


def _signed(gain: Difference) -> str:
    text = f"{100 * gain.mean:+.1f}"
    if gain.low is None or gain.high is None:
        return text
    return f"{text} ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})"


def _methods(plan: Plan) -> str:
    lines = [f"- `{name}`: {METHODS[name].what}." for name in plan.methods]
    return "## Methods\n\n" + "\n".join(lines)
