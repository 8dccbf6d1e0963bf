"""The table: its columns, and names that a spreadsheet would run."""

from examples.covid3d.audit.judgement import Judgement, Verdict
from examples.covid3d.audit.table import write_table
from examples.covid3d.common.files import read_csv


def test_the_columns_begin_with_scan_quality_and_doubt_and_the_rows_with_the_worst(tmp_path):
    rows = [
        Judgement("b", 0.123456, "missed", {"dice": 1 / 3, "mean_loss": 2.0}),
        Judgement("a", 1.0, "", {"dice": 1.0}, True),
    ]
    write_table(tmp_path / "audit.csv", Verdict(rows))
    first, second = read_csv(tmp_path / "audit.csv")
    assert list(first)[:3] == ["scan", "quality", "doubt"]
    assert first == {
        "scan": "b",
        "quality": "0.1235",
        "doubt": "missed",
        "trusted": "0",
        "dice": "0.333333",
        "mean_loss": "2",
    }
    assert (second["scan"], second["trusted"], second["mean_loss"]) == ("a", "1", "")


def test_no_name_is_a_formula(tmp_path):
    names = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx"]
    write_table(
        tmp_path / "audit.csv", Verdict([Judgement(name, 0.5, "", {}) for name in names])
    )
    written = [row["scan"] for row in read_csv(tmp_path / "audit.csv")]
    assert written == [f"'{name}" for name in names]
