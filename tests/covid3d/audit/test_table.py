"""The table: its columns, and names that a spreadsheet would run."""

import pytest

from examples.covid3d.audit.table import write_table
from examples.covid3d.audit.verdict import Verdict
from examples.covid3d.common.files import read_csv
from tests.covid3d.audit.assessments import assessment


def test_the_columns_begin_with_scan_quality_and_doubt_and_the_rows_with_the_worst(tmp_path):
    judged = [assessment("b", 0.123456, "missed", agreement=1 / 3), assessment("c", 0.9)]
    write_table(tmp_path / "audit.csv", Verdict(judged, [assessment("a", 0.5)]))
    rows = read_csv(tmp_path / "audit.csv")
    assert list(rows[0])[:4] == ["scan", "quality", "doubt", "trusted"]
    assert [(row["scan"], row["trusted"]) for row in rows] == [("b", "0"), ("a", "1"), ("c", "0")]
    assert rows[0]["doubt"] == "missed"
    assert float(rows[0]["quality"]) == pytest.approx(0.123456)
    assert float(rows[0]["agreement"]) == pytest.approx(1 / 3, abs=1e-5)
    assert rows[0]["volume_ratio"] == ""


def test_no_name_is_a_formula(tmp_path):
    names = ["+1", "-1", "=1+1", "@SUM(A1)"]
    write_table(tmp_path / "audit.csv", Verdict([assessment(name, 0.5) for name in names], []))
    lines = (tmp_path / "audit.csv").read_text(encoding="utf-8").splitlines()[1:]
    cells = [line.split(",")[0] for line in lines]
    # A number is none, negative or not.
    assert cells == ["+1", "-1", "'=1+1", "'@SUM(A1)"]
    assert [row["scan"] for row in read_csv(tmp_path / "audit.csv")] == names
