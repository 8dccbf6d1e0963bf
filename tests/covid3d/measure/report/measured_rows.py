"""Rows of ``metrics.csv`` for tests that need no run."""

from hypothesis import strategies as st

LABELS = {"supervised": "Fully supervised", "rgs": "RGS", "rgsm-al": "RGS&M+AL", "equal": "Equal"}


def result(method, seed, fold, scan, dice, **more):
    row = {"seed": seed, "fold": fold, "method": method, "scan": scan, "patient": scan}
    row |= {"source": "benchmark", "dice": dice, "hd_mm": 10, "hd95_mm": 5, "nsd": 0.5}
    row |= {"missed": 0, "false_alarm": 0, "expert_ml": 1.0, "predicted_ml": 1.0}
    return {key: str(value) for key, value in (row | more).items()}


def results(method, by_seed, metric="dice", patients=None):
    """Rows of one method: for each seed, a value per scan; two folds in turn."""
    rows = []
    for seed, values in enumerate(by_seed):
        for index, value in enumerate(values):
            patient = f"p{index}" if patients is None else patients[index]
            row = result(method, seed, 1 + index % 2, f"s{index}", 0.5, patient=patient)
            rows.append(row | {metric: repr(float(value))})
    return rows


def rows_by(method, values, hd=10.0, **more):
    """Rows from {(seed, fold): Dice of its scans}; a scan's patient is its name."""
    return [
        result(method, seed, fold, f"f{fold}s{index}", dice, hd_mm=hd, **more)
        for (seed, fold), dices in values.items()
        for index, dice in enumerate(dices)
    ]


ROWS = [
    *rows_by("supervised", {(0, 1): [0.5, 0.7], (0, 2): [0.8]}, hd=12.0),
    *rows_by("rgs", {(0, 1): [0.6, 0.7], (0, 2): [0.7]}, hd=11.0, missed=1),
]


def texts(table):
    return [[cell.text for cell in row] for row in table.rows]


def best(table):
    return {(i, j) for i, row in enumerate(table.rows) for j, cell in enumerate(row) if cell.best}


dice = st.floats(0, 1).map(lambda value: round(value, 3))


@st.composite
def two_methods(draw):
    seeds, scans = draw(st.integers(1, 4)), draw(st.integers(1, 9))
    table = st.lists(st.lists(dice, min_size=scans, max_size=scans), min_size=seeds, max_size=seeds)
    patients = [f"p{draw(st.integers(0, scans))}" for _ in range(scans)]
    return [row for method in ("a", "b") for row in results(method, draw(table), patients=patients)]
