from examples.covid3d.measure.report.paper import TABLE3
from examples.covid3d.measure.report.tables.folds import folds_table
from examples.covid3d.measure.report.tables.seeds import seeds_table
from tests.covid3d.measure.report.measured_rows import LABELS, ROWS, best, rows_by, texts


def test_folds_table_by_hand():
    table = folds_table(ROWS, ["supervised", "rgs"], LABELS, paper=TABLE3)
    assert table.header == (
        "Method",
        "Metric",
        "Fold 1",
        "Fold 2",
        "Average",
        "Paper, average (their data)",
    )
    # Averages are over the three scans, not over the two folds: (0.5 + 0.7 + 0.8) / 3.
    assert texts(table) == [
        [
            "Fully supervised",
            "Dice ↑",
            "0.600 ± 0.141",
            "0.800 ± 0.000",
            "0.667 ± 0.153",
            "0.730 ± 0.066",
        ],
        [
            "Fully supervised",
            "HD (mm) ↓",
            "12.00 ± 0.00",
            "12.00 ± 0.00",
            "12.00 ± 0.00",
            "44.08 ± 06.79",
        ],
        ["RGS", "Dice ↑", "0.650 ± 0.071", "0.700 ± 0.000", "0.667 ± 0.058", "0.754 ± 0.065"],
        [
            "RGS",
            "HD (mm) ↓",
            "11.00 ± 0.00",
            "11.00 ± 0.00",
            "11.00 ± 0.00",
            "44.51 ± 08.21",
        ],
    ]
    # The average Dice is a draw of all; the paper's column is never marked.
    assert best(table) == {(2, 2), (0, 3), (3, 2), (3, 3), (3, 4)}
    assert "their data" in table.note
    assert "is the diagonal of the volume" in table.note


def test_no_paper_no_column():
    table = folds_table(ROWS, ["rgs"], LABELS, metrics=("nsd",))
    assert table.header[-1] == "Average"
    assert texts(table)[0][1] == "NSD ↑"
    assert not best(table)
    assert "paper" not in table.note.lower()
    assert "diagonal" not in table.note


def test_a_row_that_the_paper_lacks_has_a_dash():
    rows = rows_by("equal", {(0, 1): [0.5]})
    assert texts(folds_table(rows, ["equal"], LABELS, paper=TABLE3))[0][-1] == "–"


def test_an_average_over_fewer_scans_is_not_the_best():
    rows = ROWS + rows_by("equal", {(0, 1): [0.9, 0.9]})
    table = folds_table(rows, ["supervised", "rgs", "equal"], LABELS, metrics=("dice",))
    assert texts(table)[2][2:] == ["0.900 ± 0.000", "–", "0.900 ± 0.000"]
    assert (2, 2) in best(table)
    assert (2, 4) not in best(table)
    assert table.note.endswith("Equal: only 2 of 3 test scans.")


def test_folds_and_seeds_are_in_the_order_of_numbers():
    rows = rows_by("rgs", {(s, f): [0.5] for s in (10, 2) for f in (10, 2)})
    assert folds_table(rows, ["rgs"], {}).header[2:4] == ("Fold 2", "Fold 10")
    assert seeds_table(rows, ["rgs"], {}).header[1:3] == ("Seed 2", "Seed 10")
