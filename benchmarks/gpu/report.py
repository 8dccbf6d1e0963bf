"""The page of tables, ready for ``docs/cost.md``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.gpu.cells import Cell
from benchmarks.gpu.filling import METHOD
from benchmarks.gpu.measure import Found
from benchmarks.gpu.record import Record
from benchmarks.meta_step.failure import NOT_AVAILABLE, OUT_OF_MEMORY
from benchmarks.meta_step.summary import SummaryRow, rows
from benchmarks.meta_step.table import escaped
from benchmarks.meta_step.timing import OUT_OF_TIME

_SHORT = {OUT_OF_MEMORY: "memory", OUT_OF_TIME: "time"}
_REFERENCES = ("plain", "floor")


@dataclass(frozen=True)
class Line:
    """One model at one size and batch, all its methods.

    Attributes:
        model: Its name.
        size: As the model means it.
        batch: Noisy samples, and as many trusted ones.
        rows: Figures by method.
        syncs: Synchronisations a step, by method.
        busy: Share of the step in which the device is at work, by method.
        errors: Why a method has none, in one line, by method.
    """

    model: str
    size: int
    batch: int
    rows: dict[str, SummaryRow]
    syncs: dict[str, float]
    busy: dict[str, float]
    errors: dict[str, str]

    @property
    def words(self) -> str:
        """The model, its size and its batch."""
        return f"{self.model} {self.size} | {self.batch} + {self.batch}"


def lines_by_stage(record: Record) -> dict[str, list[Line]]:
    """Return the lines of every table; what several cells say of one setup stands in one line.

    A ratio is always to ``plain`` of the same cell.
    """
    stages: dict[str, dict[tuple[str, int, int], Line]] = {}
    for cell, found in record.cells:
        setup = found.measured.setup
        key = (cell.model, cell.size, setup["batch"])
        lines = stages.setdefault(cell.stage, {})
        line = lines.setdefault(key, Line(*key, {}, {}, {}, {}))
        _add(line, found)
    return {stage: list(lines.values()) for stage, lines in stages.items()}


def _add(line: Line, found: Found) -> None:
    known = dict(line.rows)
    for row in rows(found.measured):
        if row.method in _REFERENCES and row.method in known and known[row.method].time:
            continue
        line.rows[row.method] = row
        error = row.time_error or row.memory_error or found.wait_errors.get(row.method)
        line.errors.pop(row.method, None)
        if error is not None:
            line.errors[row.method] = error
        if row.method in found.syncs:
            line.syncs[row.method] = found.syncs[row.method]
        if row.method in found.busy:
            line.busy[row.method] = found.busy[row.method]


def markdown(record: Record, missing: Sequence[Cell]) -> str:
    """Return the page.

    Args:
        record: What has been found.
        missing: Cells that are not measured yet.
    """
    machine = ", ".join(f"{name} {value}" for name, value in record.same["machine"].items())
    parts = [
        "# What a step costs on this device",
        f"Measured on: {machine}.\n\nBy `{record.command}`.",
        _NOTE,
    ]
    if record.same["settings"]["quick"]:
        parts.append("**A trial of the code at tiny sizes: these figures say nothing.**")
    if record.tested is not None:
        parts.append(f"## The library's tests on {record.tested.device}\n\n{record.tested.words()}")
    for stage, lines in lines_by_stage(record).items():
        tables = [table for table in _tables(lines) if table]
        parts += [f"## {stage[0].upper()}{stage[1:]}", *tables] if tables else []
    parts += [_fillings(record), _reasons(record), _notes(record), _not_reached(missing)]
    return "\n\n".join(part for part in parts if part) + "\n"


_LONGEST = 200

_NOTE = (
    "Times of whole steps (forward, backward, optimiser) in units of plain training on the same "
    "noisy batch, in interleaved rounds, by events on an idle CUDA stream: medians, with quartiles "
    "in brackets. Floor: plain, and the trusted gradient unused. Peak memory: of the allocator, "
    "over what is held before the first step, of a step after the first ones. Synchronisations: "
    "what PyTorch's debug mode sees in one step, which is not all. Idle: share of the step in "
    "which no kernel runs."
)


def _tables(lines: Sequence[Line]) -> list[str]:
    methods = list(dict.fromkeys(method for line in lines for method in line.rows))
    return [
        _table("Time", lines, methods, _time, "plain (ms)"),
        _table("Peak memory", lines, methods, _peak, "plain (MiB)"),
        _table("Synchronisations a step", lines, methods, _sync, None),
        _table("Device idle", lines, methods, _idle, None),
    ]


def _table(
    title: str,
    lines: Sequence[Line],
    methods: Sequence[str],
    cell: Callable[[Line, str], str | None],
    plain: str | None,
) -> str:
    """Return a table of one quantity, or nothing where nobody has measured it."""
    cells = [[cell(line, method) for method in methods] for line in lines]
    if all(text is None for row in cells for text in row):
        return ""
    heads = [plain if plain and method == "plain" else method for method in methods]
    body = [
        f"| {line.words} | "
        + " | ".join(
            _why(line, method) if text is None else text
            for method, text in zip(methods, row, strict=True)
        )
        + " |"
        for line, row in zip(lines, cells, strict=True)
    ]
    head = f"| model | samples | {' | '.join(heads)} |\n{'|---' * (len(heads) + 2)}|"
    return "\n".join([f"### {title}\n", head, *body])


def _time(line: Line, method: str) -> str | None:
    row = line.rows.get(method)
    if row is None or row.seconds is None:
        return None
    if method == "plain" or row.time is None:
        return f"{1000 * row.seconds:.3g}"
    low, middle, high = row.time
    return f"{middle:.2f}" + (f" ({low:.2f}–{high:.2f})" if low < high else "")


def _peak(line: Line, method: str) -> str | None:
    row = line.rows.get(method)
    if row is None or row.tensors is None:
        return None
    if method == "plain" or row.tensors_ratio is None:
        return f"{row.tensors:.0f}"
    return f"× {row.tensors_ratio:.2f}"


def _sync(line: Line, method: str) -> str | None:
    return f"{line.syncs[method]:.3g}" if method in line.syncs else None


def _idle(line: Line, method: str) -> str | None:
    return f"{1 - line.busy[method]:.0%}" if method in line.busy else None


def _why(line: Line, method: str) -> str:
    error = line.errors.get(method)
    if error is None:
        return ""
    if error.startswith(NOT_AVAILABLE):
        return "–"
    return _SHORT.get(error, "error")


def _fillings(record: Record) -> str:
    if not record.fillings:
        return ""
    body = "\n".join(f"| {f.model} | {f.batch} | {f.why} |" for f in record.fillings.values())
    return (
        f"## Batches that fill the device\n\nDoubled until `{METHOD}` would not fit, or would take "
        f"too long.\n\n| model | samples | why no more |\n|---|---|---|\n{body}"
    )


def _reasons(record: Record) -> str:
    """Return why what is missing is missing, each reason once, with where it was met."""
    met: dict[tuple[str, str], list[str]] = {}
    for stage, lines in lines_by_stage(record).items():
        for line in lines:
            for method, error in line.errors.items():
                if error != OUT_OF_TIME:
                    where = f"{line.model} ({stage})"
                    met.setdefault((method, error), []).append(where)
    if not met:
        return ""
    body = "\n".join(
        f"| {method} | {escaped(error, _LONGEST)} | {_few(places)} |"
        for (method, error), places in sorted(met.items())
    )
    return f"## What is missing, and why\n\n| step | reason | where |\n|---|---|---|\n{body}"


def _few(places: Sequence[str], most: int = 3) -> str:
    rest = len(places) - most
    return "; ".join(places[:most]) + (f"; and {rest} more" if rest > 0 else "")


def _notes(record: Record) -> str:
    met: dict[str, list[str]] = {}
    for cell, found in record.cells:
        for note in found.notes:
            met.setdefault(note, []).append(f"{cell.model} ({cell.stage})")
    if not met:
        return ""
    body = "\n".join(
        f"- {escaped(note, _LONGEST)} ({_few(places)})" for note, places in met.items()
    )
    return f"## What was warned of\n\n{body}"


def _not_reached(missing: Sequence[Cell]) -> str:
    if not missing:
        return ""
    stages: dict[str, list[str]] = {}
    for cell in missing:
        stages.setdefault(cell.stage, []).append(cell.words)
    body = "\n".join(f"- {stage}: {', '.join(words)}" for stage, words in stages.items())
    return f"## Not reached\n\nThe same command goes on with these.\n\n{body}"
