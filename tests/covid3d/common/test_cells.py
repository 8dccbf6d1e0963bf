"""Names that are formulas: harmless in a spreadsheet, and the same when they are read back."""

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.covid3d.common.cells import guarded, unguarded
from examples.covid3d.common.files import read_csv, write_csv

FORMULAS = (
    "=1+1",
    "+1+1",
    "-cmd|'/C'!A0",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    " =1",
    "＝1+1",
)


@pytest.mark.parametrize("name", FORMULAS)
def test_a_name_that_is_a_formula_is_none_in_the_file_and_is_itself_when_read(tmp_path, name):
    write_csv(tmp_path / "t.csv", [{"scan": name, name: "x"}])
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as stream:
        cells = [cell for row in csv.reader(stream) for cell in row]
    assert cells == ["scan", f"'{name}", f"'{name}", "x"]
    assert read_csv(tmp_path / "t.csv") == [{"scan": name, name: "x"}]


@pytest.mark.parametrize("text", ["-3", "+3.5", "-1e-05", "-.5", "-inf", "-2.", "a=b", "o'n", ""])
def test_numbers_and_other_text_are_as_they_were(text):
    assert guarded(text) == unguarded(text) == text


def test_what_is_not_text_is_left_alone():
    assert [guarded(cell) for cell in (-1.5, None, 3)] == [-1.5, None, 3]


@given(text=st.text(alphabet="'=+-@\t\r\n 1ae.＝", max_size=6))
def test_every_text_comes_back(text):
    assert unguarded(guarded(text)) == text


def test_a_row_that_is_too_long_is_read_as_csv_reads_it(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1\n1,2,'=3\n", encoding="utf-8")
    short, long = {"a": "1", "b": None}, {"a": "1", "b": "2", None: ["'=3"]}
    assert read_csv(tmp_path / "t.csv") == [short, long]
