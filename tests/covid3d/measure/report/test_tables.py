from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.covid3d.common.errors import UserError
from examples.covid3d.common.files import read_csv, write_csv
from examples.covid3d.measure.report.paper import TABLE3, TABLE4
from examples.covid3d.measure.report.tables import (
    Entry,
    Table,
    all_metrics_table,
    differences_table,
    folds_table,
    seeds_table,
    table4,
)
from tests.covid3d.measure.report.test_statistics import result

LABELS = {"supervised": "Fully supervised", "rgs": "RGS", "rgsm-al": "RGS&M+AL", "equal": "Equal"}


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


class Cells(HTMLParser):
    """Reads a table's cells back, those in bold with a star."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def handle_starttag(self, tag, _):
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag == "strong":
            self.rows[-1][-1] += "*"

    def handle_data(self, data):
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def read_html(text):
    parser = Cells()
    parser.feed(text.split("<caption>")[1].split("</caption>")[1].split("</table>")[0])
    return parser.rows


SMALL = Table(
    "A <title>",
    ("Method", "Dice ↑"),
    (
        (Entry("RGS&M"), Entry("0.50 ± 0.10", True, 0.5, 0.1)),
        (Entry("RGS&M"), Entry("0.40", False, 0.4)),
        (Entry("<b>|"), Entry("–")),
    ),
    note="n < 3 & so on",
    grouped=True,
)


def test_html_escapes_and_marks_the_best():
    html = SMALL.to_html()
    assert read_html(html) == [
        ["Method", "Dice ↑"],
        ["RGS&M", "*0.50 ± 0.10"],
        ["", "0.40"],
        ["<b>|", "–"],
    ]
    assert "<caption>A &lt;title&gt;</caption>" in html
    assert "n &lt; 3 &amp; so on" in html


def test_markdown():
    assert SMALL.to_markdown() == (
        "**A \\<title>**\n\n"
        "| Method | Dice ↑ |\n"
        "| :--- | ---: |\n"
        "| RGS&M | **0.50 ± 0.10** |\n"
        "|  | 0.40 |\n"
        "| \\<b>\\| | – |\n"
        "\nn \\< 3 & so on\n"
    )


def test_csv_has_numbers_unrounded_and_every_name(tmp_path):
    write_csv(tmp_path / "table.csv", SMALL.to_csv_rows())
    assert read_csv(tmp_path / "table.csv") == [
        {"Method": "RGS&M", "Dice ↑": "0.5", "Dice ↑, std": "0.1"},
        {"Method": "RGS&M", "Dice ↑": "0.4", "Dice ↑, std": ""},
        {"Method": "<b>|", "Dice ↑": "–", "Dice ↑, std": ""},
    ]


def test_crooked_tables_are_refused():
    with pytest.raises(ValueError, match="a row of 1 cells under 2"):
        Table("", ("a", "b"), ((Entry("1"),),))
    with pytest.raises(ValueError, match="same name"):
        Table("", ("a", "a"), ())


words = st.text(alphabet="ab|<&*_`\\ \n", max_size=8)


@given(cells=st.lists(st.tuples(words, words), max_size=4))
def test_no_text_breaks_the_grid(cells):
    table = Table("t", ("a", "b"), tuple((Entry(x), Entry(y, True)) for x, y in cells))
    lines = table.to_markdown().splitlines()[2:]
    assert len(lines) == len(cells) + 2
    for line in lines:
        assert line.replace("\\\\", "").replace("\\|", "").count("|") == 3
    assert read_html(table.to_html())[1:] == [[x, f"*{y}"] for x, y in cells]


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


def test_what_prints_alike_is_marked_alike():
    rows = ROWS + rows_by("equal", {(0, 1): [0.1, 0.1], (0, 2): [0.1]})
    rows += rows_by("random", {(0, 1): [0.7, 0.7], (0, 2): [0.6004]})
    table = seeds_table(rows, ["supervised", "rgs", "equal", "random"], LABELS)
    assert [row[1] for row in texts(table)] == ["0.667", "0.667", "0.100", "0.667"]
    assert best(table) == {(i, j) for i in (0, 1, 3) for j in (1, 2)}


def test_no_paper_no_column():
    table = folds_table(ROWS, ["rgs"], LABELS, metrics=("nsd",))
    assert table.header[-1] == "Average"
    assert texts(table)[0][1] == "NSD ↑"
    assert not best(table)
    assert "paper" not in table.note.lower()


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


def test_all_metrics_table_by_hand():
    training = [
        {"method": "rgs", "seed": "0", "fold": fold, "seconds": seconds, "steps": steps}
        for fold, seconds, steps in (("1", "10.0", "300"), ("2", "20.5", "280"))
    ]
    rows = ROWS + rows_by("equal", {(0, 1): [0, 0], (0, 2): [1]}, expert_ml=0, false_alarm=1)
    table = all_metrics_table(rows, training, ["supervised", "rgs", "equal"], LABELS)
    lines = {row[0]: dict(zip(table.header, row, strict=True)) for row in texts(table)}
    assert list(lines) == ["Fully supervised", "RGS", "Equal"]
    assert lines["RGS"]["Missed"] == "3 of 3"
    assert lines["Equal"]["Missed"] == "0 of 0"
    assert lines["Equal"]["False alarms"] == "3 of 3"
    assert lines["RGS"]["False alarms"] == "0 of 0"
    assert lines["RGS"]["Training (s)"] == "15"
    assert lines["RGS"]["Steps"] == "280 to 300"
    assert lines["Equal"]["Training (s)"] == lines["Equal"]["Steps"] == "–"
    assert lines["RGS"]["HD95 (mm) ↓"] == "5.00 ± 0.00"
    assert lines["RGS"]["NSD ↑"] == "0.500 ± 0.000"
    exported = all_metrics_table(rows, training, ["rgs"], LABELS).to_csv_rows()[0]
    assert exported["Training (s)"] == "15.25"


def test_table_4_keeps_the_papers_rows_and_adds_ours():
    rows = ROWS + rows_by("equal", {(0, 1): [0.9, 0.9], (0, 2): [0.9]})
    table = table4(rows, ["equal", "rgs", "supervised"], {"equal": "Equal"})
    assert [row[1] for row in texts(table)] == [*(r.name for r in TABLE4.values()), "Equal"]
    lines = {row[1]: row for row in texts(table)}
    assert lines["Proposed RGS"][2:] == ["0.6667 ± 0.0577", "0.7548 ± 0.06517"]
    assert lines["Fan et al. (2020)"] == [
        "Semi-supervised",
        "Fan et al. (2020)",
        "not run",
        "0.5970",
    ]
    assert lines["Equal"] == ["Beyond the paper", "Equal", "0.9000 ± 0.0000", "–"]
    assert best(table) == {(len(TABLE4), 2)}
    other = table4(rows, ["equal"], {}, kinds={"equal": "Control"})
    assert texts(other)[-1][:2] == ["Control", "equal"]


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


def compared(seeds=3):
    offsets = {"equal": 0.0, "rgs": 0.1, "rgsm-al": -0.06}
    return [
        row
        for method, offset in offsets.items()
        for seed in range(seeds)
        for row in rows_by(method, {(seed, 1): [0.5 + offset + 0.01 * seed * offset] * 8})
    ]


def test_differences_table_by_hand():
    table = differences_table(compared(), ["equal", "rgs", "rgsm-al"], ["equal", "rgs"], LABELS)
    assert [row[:6] for row in texts(table)] == [
        ["Equal", "RGS", "+0.101", "0.001", "+0.101 to +0.101", "8 / 0 of 8"],
        ["Equal", "RGS&M+AL", "-0.061", "0.001", "-0.061 to -0.061", "0 / 8 of 8"],
        ["RGS", "Equal", "-0.101", "0.001", "-0.101 to -0.101", "0 / 8 of 8"],
        ["RGS", "RGS&M+AL", "-0.162", "0.002", "-0.162 to -0.162", "0 / 8 of 8"],
    ]
    # All eight patients on one side: p is 2 / 2^8, and by Holm, as the least of two, twice that.
    assert {tuple(row[6:]) for row in texts(table)} == {("0.008", "0.016", "yes")}
    first = table.to_csv_rows()[0]
    assert float(first["Difference in Dice"]) == pytest.approx(0.101)
    assert float(first["p (Holm)"]) == pytest.approx(2 * 2 / 2**8)


def test_few_seeds_and_few_patients_are_said():
    rows = rows_by("rgs", {(0, 1): [0.5, 0.6]}) + rows_by("equal", {(0, 1): [0.5, 0.5]})
    table = differences_table(rows, ["rgs"], ["equal"], LABELS)
    assert texts(table) == [
        ["Equal", "RGS", "+0.050", "–", "–", "1 / 0 of 2", "–", "–", "too few seeds"]
    ]


def test_no_difference_is_not_minus_zero():
    rows = rows_by("rgs", {(0, 1): [0.5]}) + rows_by("equal", {(0, 1): [0.50001]})
    assert texts(differences_table(rows, ["rgs"], ["equal"], LABELS))[0][2] == "+0.000"


def test_methods_that_were_not_tested_alike_are_not_compared():
    rows = compared() + rows_by("nnunet", {(0, 1): [0.9] * 8})
    table = differences_table(rows, ["rgs", "nnunet", "rgsm-al"], ["equal"], LABELS)
    assert texts(table)[1] == ["Equal", "nnunet", "not compared", *["–"] * 6]
    assert "nnunet has no result for seed 1, fold 1, scan f1s0 and 15 more" in table.note
    # Holm counts two comparisons, not three.
    assert texts(table)[0][7] == "0.016"


def test_a_method_without_results_is_an_error():
    for build in (folds_table, table4, seeds_table):
        with pytest.raises(UserError, match="no result of ua-mt"):
            build(ROWS, ["rgs", "ua-mt"], LABELS)
    with pytest.raises(UserError, match="no result of ua-mt"):
        all_metrics_table(ROWS, [], ["ua-mt"], LABELS)
    with pytest.raises(UserError, match="no result of random"):
        differences_table(ROWS, ["rgs"], ["random"], LABELS)
