"""What each row of the tables is, and how it was trained."""

from __future__ import annotations

from statistics import fmean

from examples.covid3d.measure.report.page import html
from examples.covid3d.measure.report.provenance import comparison
from examples.covid3d.measure.report.results import LABELS, Results
from examples.covid3d.methods.rows import ROWS

_HEADER = ("Row", "Kind", "What it is", "Starts from", "Steps", "Rate", "Training")


def rows_section(results: Results) -> list[str]:
    """Kind and meaning of every row, its start, steps, learning rate and time."""
    lines = [
        (LABELS[m], ROWS[m].family, ROWS[m].meaning, *how(m, results)) for m in results.methods
    ]
    return [
        html.heading("Rows"),
        html.paragraph(comparison(results.context.config)),
        html.table(_HEADER, lines, "text"),
        html.paragraph(_waiting(results), "small"),
    ]


def how(method: str, results: Results) -> tuple[str, str, str, str]:
    """Where a row starts, how many steps it takes, its learning rate, and its mean time."""
    row, config = ROWS[method], results.context.config
    if row.recipe is None:
        start = "elsewhere" if row.external else "scratch"
    else:
        start = row.start if row.start != "student" else config.student_start
    own = [line for line in results.training if line["method"] == method]
    steps = sorted({int(line["steps"]) for line in own})
    shown = " to ".join(dict.fromkeys(str(n) for n in (steps[:1] + steps[-1:])))
    if start == "teacher":
        shown += ", after the teacher's"
    rate = f"{config.learning_rate * row.rate:g}, {row.schedule or config.schedule}"
    seconds = [float(line["seconds"]) for line in own if line.get("seconds")]
    return (
        start,
        shown or "–",
        "–" if row.external else rate,
        f"{fmean(seconds):.0f} s" if seconds else "–",
    )


def _waiting(results: Results) -> str:
    seconds, waited = (
        sum(float(row[key]) for row in results.training) for key in ("seconds", "wait_seconds")
    )
    share = waited / seconds if seconds else 0.0
    return (
        "Training: mean over seeds and folds, validation not counted. Of "
        f"{seconds:.0f} s of training steps in all, {share:.1%} were spent waiting for batches."
    )
