from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.covid3d.common.files import read_csv, write_csv
from examples.covid3d.measure.report.page.markup import Entry, Table


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
    assert "<caption><span>A &lt;title&gt;</span></caption>" in html
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
