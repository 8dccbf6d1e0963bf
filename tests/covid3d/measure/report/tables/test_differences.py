import pytest

from examples.covid3d.measure.report.tables.differences import differences_table
from tests.covid3d.measure.report.measured_rows import LABELS, rows_by, texts


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
        ["Equal", "RGS&M+AL", "−0.061", "0.001", "−0.061 to −0.061", "0 / 8 of 8"],
        ["RGS", "Equal", "−0.101", "0.001", "−0.101 to −0.101", "0 / 8 of 8"],
        ["RGS", "RGS&M+AL", "−0.162", "0.002", "−0.162 to −0.162", "0 / 8 of 8"],
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
