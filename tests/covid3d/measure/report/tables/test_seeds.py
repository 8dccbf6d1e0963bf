from examples.covid3d.measure.report.tables.seeds import seeds_table
from tests.covid3d.measure.report.measured_rows import LABELS, ROWS, best, rows_by, texts


def test_what_prints_alike_is_marked_alike():
    rows = ROWS + rows_by("equal", {(0, 1): [0.1, 0.1], (0, 2): [0.1]})
    rows += rows_by("random", {(0, 1): [0.7, 0.7], (0, 2): [0.6004]})
    table = seeds_table(rows, ["supervised", "rgs", "equal", "random"], LABELS)
    assert [row[1] for row in texts(table)] == ["0.667", "0.667", "0.100", "0.667"]
    assert best(table) == {(i, j) for i in (0, 1, 3) for j in (1, 2)}


def test_seeds_table_by_hand():
    rows = rows_by("rgs", {(0, 1): [0.2], (0, 2): [0.4], (1, 1): [0.4], (1, 2): [0.6]})
    rows += rows_by("equal", {(0, 1): [0.9], (0, 2): [0.9]})
    table = seeds_table(rows, ["rgs", "equal"], LABELS)
    assert table.header == ("Method", "Seed 0", "Seed 1", "Mean ± std over seeds")
    assert texts(table) == [
        ["RGS", "0.300", "0.500", "0.400 ± 0.141"],
        ["Equal", "0.900", "–", "0.900"],
    ]
    assert best(table) == {(1, 1), (1, 3)}
