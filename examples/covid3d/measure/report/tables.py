"""The report's tables: the paper's Tables 2 to 4, all metrics, seeds, and paired differences.

Each is built from the rows of ``metrics.csv``. ``labels`` gives the names to print; a method that
is not in it goes by its own. The best of a column is the best among our own results, as printed:
what prints alike is marked alike, and where all do, none is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from examples.covid3d.measure.report.markup import Entry, Table
from examples.covid3d.measure.report.paper import TABLE4, PaperRow, PaperTable
from examples.covid3d.measure.report.statistics import (
    FEWEST_PATIENTS,
    METRICS,
    Difference,
    Rows,
    cell,
    difference,
    holm,
    numeric,
    over_seeds,
    p_text,
    rows_of,
    unpaired,
)

__all__ = [
    "Entry",
    "Table",
    "all_metrics_table",
    "differences_table",
    "folds_table",
    "seeds_table",
    "table4",
]

Labels = Mapping[str, str]

_NONE = Entry("–")
_SPREAD = "Mean ± standard deviation over test scans, those of all seeds together."
_PAPERS = (
    "The paper's column is copied from the paper: their data, their runs; the std of the rows that "
    "they ran is the mean of their folds' stds. Best of ours in bold."
)


def _plus_minus(mean: float, std: float | None, digits: int) -> Entry:
    text = f"{mean:.{digits}f}" + (f" ± {std:.{digits}f}" if std is not None else "")
    return Entry(text, number=mean, spread=std)


def _summary(rows: Rows, method: str, metric: str, fold: str | None, digits: int) -> Entry:
    found = cell(rows, method, metric, fold)
    return _plus_minus(found.mean, found.std, digits) if found else _NONE


def _mark(column: Sequence[Entry], higher: bool, digits: int, may: Sequence[bool]) -> list[Entry]:
    """Marks the best numbers of a column, among those that ``may`` be compared."""
    printed = [
        round(entry.number, digits) if entry.number is not None and allowed else None
        for entry, allowed in zip(column, may, strict=True)
    ]
    known = [number for number in printed if number is not None]
    if len(set(known)) < 2:
        return list(column)
    best = max(known) if higher else min(known)
    return [
        Entry(entry.text, number == best, entry.number, entry.spread)
        for entry, number in zip(column, printed, strict=True)
    ]


def _complete(rows: Rows, methods: Sequence[str], labels: Labels) -> tuple[list[bool], str]:
    """Whether each method was tested on every fold's every scan, and a note on those that were not.

    An average over other scans than everyone else's cannot be the best of its column.
    """
    scans = {m: {(fold, scan) for _, fold, scan in rows_of(rows, m)} for m in methods}
    every = set().union(*scans.values())
    lacking = [m for m in methods if len(scans[m]) < len(every)]
    note = "".join(
        f" {labels.get(m, m)}: only {len(scans[m])} of {len(every)} test scans." for m in lacking
    )
    return [m not in lacking for m in methods], note


def folds_table(
    rows: Rows,
    methods: Sequence[str],
    labels: Labels,
    metrics: Sequence[str] = ("dice", "hd_mm"),
    paper: PaperTable | None = None,
    title: str = "Cross-validation",
) -> Table:
    """The layout of Tables 2 and 3: a line per method and metric, a column per fold.

    Args:
        rows: Rows of ``metrics.csv``.
        methods: Methods, in the order of the table.
        labels: Their names.
        metrics: Keys of ``METRICS``.
        paper: Table 2 or 3 of the paper, whose averages make the last column.
        title: Title.

    Returns:
        The table. The average is over all test scans, not over the folds' means.

    Raises:
        UserError: If a method has no results, or the rows are faulty.
    """
    folds = sorted({fold for m in methods for _, fold, _ in rows_of(rows, m)}, key=numeric)
    complete, lacking = _complete(rows, methods, labels)
    lines: dict[tuple[str, str], list[Entry]] = {}
    for metric in metrics:
        kind = METRICS[metric]
        columns = [
            _mark(
                [_summary(rows, m, metric, fold, kind.digits) for m in methods],
                kind.higher_is_better,
                kind.digits,
                complete if fold is None else [True] * len(methods),
            )
            for fold in [*folds, None]
        ]
        for method, line in zip(methods, zip(*columns, strict=True), strict=True):
            lines[method, metric] = list(line)
            if paper is not None:
                printed = paper.get(method, {}).get(metric)
                lines[method, metric].append(
                    Entry(
                        printed.average.text, False, printed.average.value, printed.average.spread
                    )
                    if printed
                    else _NONE
                )
    last = ("Paper, average (their data)",) if paper is not None else ()
    return Table(
        title,
        ("Method", "Metric", *(f"Fold {fold}" for fold in folds), "Average", *last),
        tuple(
            (Entry(labels.get(m, m)), Entry(METRICS[metric].heading), *lines[m, metric])
            for m in methods
            for metric in metrics
        ),
        _SPREAD + (f" {_PAPERS}" if paper is not None else " Best in bold.") + lacking,
        grouped=True,
    )


def _failures(rows: Rows, method: str) -> tuple[Entry, Entry]:
    found = cell(rows, method, "dice")
    if found is None:
        return _NONE, _NONE
    return (
        Entry(f"{found.missed} of {found.with_lesion}"),
        Entry(f"{found.false_alarms} of {found.without_lesion}"),
    )


def _counts(training: Rows, method: str, column: str) -> list[float]:
    return [float(row[column]) for row in training if row["method"] == method and row.get(column)]


def _training(training: Rows, method: str) -> tuple[Entry, Entry]:
    seconds, steps = (_counts(training, method, column) for column in ("seconds", "steps"))
    mean = sum(seconds) / len(seconds) if seconds else 0.0
    low, high = (min(steps), max(steps)) if steps else (0.0, 0.0)
    text = f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"
    return (
        Entry(f"{mean:.0f}", number=mean) if seconds else _NONE,
        Entry(text, number=low if low == high else None) if steps else _NONE,
    )


def all_metrics_table(
    rows: Rows,
    training: Rows,
    methods: Sequence[str],
    labels: Labels,
    title: str = "All metrics",
) -> Table:
    """One line per method: every metric, missed lesions, false alarms, training time and steps.

    Args:
        rows: Rows of ``metrics.csv``.
        training: Rows of ``training.csv``; a method that is not in it was not trained here.
        methods: Methods, in the order of the table.
        labels: Their names.
        title: Title.

    Returns:
        The table; the training time is the mean over seeds and folds.

    Raises:
        UserError: If a method has no results, or the rows are faulty.
    """
    complete, lacking = _complete(rows, methods, labels)
    columns = [
        _mark(
            [_summary(rows, m, metric, None, kind.digits) for m in methods],
            kind.higher_is_better,
            kind.digits,
            complete,
        )
        for metric, kind in METRICS.items()
    ]
    lines = [
        (
            Entry(labels.get(method, method)),
            *(column[index] for column in columns),
            *_failures(rows, method),
            *_training(training, method),
        )
        for index, method in enumerate(methods)
    ]
    heads = (kind.heading for kind in METRICS.values())
    return Table(
        title,
        ("Method", *heads, "Missed", "False alarms", "Training (s)", "Steps"),
        tuple(lines),
        f"{_SPREAD} Missed: tests with a lesion in which nothing was found. False alarms: tests "
        "without one in which something was. Training: mean over seeds and folds. Best in bold."
        + lacking,
    )


def table4(
    rows: Rows,
    methods: Sequence[str],
    labels: Labels,
    paper: Mapping[str, PaperRow] = TABLE4,
    kinds: Mapping[str, str] | None = None,
    title: str = "Dice beside the paper's Table 4",
) -> Table:
    """The layout of Table 4: type and name of the method, our mean Dice, the paper's.

    Args:
        rows: Rows of ``metrics.csv``.
        methods: Methods that we ran.
        labels: Names of the methods; those of the paper's rows that are not in it are the paper's.
        paper: Table 4. Its rows come first, in its order, whether we ran them or not.
        kinds: Type of the methods that are not in the paper; "Beyond the paper" if not given.
        title: Title.

    Returns:
        The table.

    Raises:
        UserError: If a method has no results, or the rows are faulty.
    """
    kinds = kinds or {}
    complete, lacking = _complete(rows, methods, labels)
    ours = dict(
        zip(
            methods,
            _mark([_summary(rows, m, "dice", None, 4) for m in methods], True, 4, complete),
            strict=True,
        )
    )
    lines = [
        (
            Entry(row.kind),
            Entry(labels.get(method, row.name)),
            ours.get(method, Entry("not run")),
            Entry(row.dice.text, False, row.dice.value, row.dice.spread),
        )
        for method, row in paper.items()
    ]
    lines += [
        (
            Entry(kinds.get(method, "Beyond the paper")),
            Entry(labels.get(method, method)),
            ours[method],
            _NONE,
        )
        for method in methods
        if method not in paper
    ]
    return Table(
        title,
        ("Method type", "Method", "Mean Dice, ours", "Mean Dice, paper (their data)"),
        tuple(lines),
        f"{_SPREAD} {_PAPERS}{lacking}",
        grouped=True,
    )


def seeds_table(
    rows: Rows,
    methods: Sequence[str],
    labels: Labels,
    metric: str = "dice",
    title: str = "Seeds",
) -> Table:
    """One line per method: its mean over all test scans for each seed, and mean ± std over seeds.

    Args:
        rows: Rows of ``metrics.csv``.
        methods: Methods, in the order of the table.
        labels: Their names.
        metric: A key of ``METRICS``.
        title: Title.

    Returns:
        The table; with a single seed, no std.

    Raises:
        UserError: If a method has no results, or the rows are faulty.
    """
    kind = METRICS[metric]
    found = [over_seeds(rows, m, metric) for m in methods]
    seeds = sorted({seed for one in found for seed in one.means}, key=numeric)
    columns = [
        [
            _plus_minus(one.means[seed], None, kind.digits) if seed in one.means else _NONE
            for one in found
        ]
        for seed in seeds
    ]
    columns.append(
        [
            _plus_minus(one.mean, one.std if len(one.means) > 1 else None, kind.digits)
            for one in found
        ]
    )
    may, lacking = _complete(rows, methods, labels)
    marked = [_mark(column, kind.higher_is_better, kind.digits, may) for column in columns]
    return Table(
        title,
        ("Method", *(f"Seed {seed}" for seed in seeds), "Mean ± std over seeds"),
        tuple(
            (Entry(labels.get(m, m)), *line)
            for m, line in zip(methods, zip(*marked, strict=True), strict=True)
        ),
        f"{kind.heading}, mean over all folds' test scans. Best in bold.{lacking}",
    )


_BEYOND = {True: "yes", False: "no", None: "too few seeds"}


def _signed(number: float, digits: int) -> str:
    return f"{round(number, digits) + 0.0:+.{digits}f}"


def _difference_cells(found: Difference, adjusted: float | None) -> tuple[Entry, ...]:
    digits = METRICS[found.metric].digits
    interval = (
        f"{_signed(found.interval[0], digits)} to {_signed(found.interval[1], digits)}"
        if found.interval
        else "–"
    )
    spread = Entry(f"{found.std:.{digits}f}", number=found.std) if found.seeds > 1 else _NONE
    return (
        Entry(_signed(found.mean, digits), number=found.mean),
        spread,
        Entry(interval),
        Entry(f"{found.better} / {found.worse} of {found.patients}"),
        Entry(p_text(found.wilcoxon), number=found.wilcoxon),
        Entry(p_text(adjusted), number=adjusted),
        Entry(_BEYOND[found.beyond_seeds]),
    )


def differences_table(
    rows: Rows,
    methods: Sequence[str],
    references: Sequence[str],
    labels: Labels,
    metric: str = "dice",
    title: str = "Paired differences",
) -> Table:
    """Every method against every reference, test by test.

    Args:
        rows: Rows of ``metrics.csv``.
        methods: Methods, in the order of the table.
        references: What each is compared with: equal weights, random weights, supervised-all, ….
        labels: Their names.
        metric: A key of ``METRICS``.
        title: Title.

    Returns:
        The table. Holm's correction is over the methods that are compared with one reference. Two
        methods that were not tested alike are not compared, and the note says what is missing.

    Raises:
        UserError: If a method has no results, or the rows are faulty.
    """
    lines: list[tuple[Entry, ...]] = []
    missing = ""
    for reference in references:
        others = [method for method in methods if method != reference]
        faults = {m: unpaired(rows, m, reference) for m in others}
        found = [difference(rows, m, reference, metric) for m in others if faults[m] is None]
        adjusted = dict(zip([d.a for d in found], holm(d.wilcoxon for d in found), strict=True))
        compared = {d.a: _difference_cells(d, adjusted[d.a]) for d in found}
        for m in others:
            cells = compared.get(m, (Entry("not compared"), *[_NONE] * 6))
            lines.append((Entry(labels.get(reference, reference)), Entry(labels.get(m, m)), *cells))
            missing += f" Not compared: {faults[m]}." if faults[m] else ""
    kind = METRICS[metric]
    unit = f" ({kind.unit})" if kind.unit else ""
    return Table(
        title,
        (
            "Against",
            "Method",
            f"Difference in {kind.label}{unit}",
            "Std over seeds",
            "95 % CI over patients",
            "Better / worse",
            "p",
            "p (Holm)",
            "Larger than the spread between seeds?",
        ),
        tuple(lines),
        f"Method minus reference; {'above' if kind.higher_is_better else 'below'} zero the method "
        "is better. Mean over seeds of the mean over test scans. The interval (bootstrap) and p "
        "(two-sided Wilcoxon signed-rank test) are over patients, each counted once, and need "
        f"{FEWEST_PATIENTS} of them; Holm's correction is over the methods compared with the same "
        "reference. Larger than the spread: the difference exceeds its own standard deviation over "
        "seeds; three seeds pass that by chance once in four or five times." + missing,
        grouped=True,
    )
