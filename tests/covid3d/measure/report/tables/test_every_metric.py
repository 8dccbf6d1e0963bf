import pytest

from examples.covid3d.measure.report.tables.every_metric import all_metrics_table
from tests.covid3d.measure.report.measured_rows import LABELS, ROWS, result, rows_by


def lines_of(rows, methods):
    table = all_metrics_table(rows, methods, LABELS)
    return table, {row[0].text: dict(zip(table.header, row, strict=True)) for row in table.rows}


def test_medians_quartiles_and_failures_by_hand():
    rows = ROWS + rows_by("equal", {(0, 1): [0, 0], (0, 2): [1]}, expert_ml=0, false_alarm=1)
    table, lines = lines_of(rows, ["supervised", "rgs", "equal"])
    assert list(lines) == ["Fully supervised", "RGS", "Equal"]
    first = lines["Fully supervised"]
    assert first["Dice, mean ↑"].text == "0.667"
    assert (first["Dice, median ↑"].text, first["Dice, median ↑"].detail) == (
        "0.700", "0.600 to 0.750",
    )  # fmt: skip
    assert lines["RGS"]["Missed"].text == "3 of 3"
    assert lines["Equal"]["Missed"].text == "0 of 0"
    assert lines["Equal"]["False alarms"].text == "3 of 3"
    assert lines["RGS"]["HD95 (mm), median ↓"].text == "5.00"
    assert lines["RGS"]["NSD, median ↑"].text == "0.500"
    exported = table.to_csv_rows()[0]
    assert [float(exported[f"Dice, median ↑{end}"]) for end in (", q1", "", ", q3")] == (
        pytest.approx([0.6, 0.7, 0.75])
    )


def test_a_penalty_for_a_missed_lesion_moves_no_median_and_is_no_distance():
    distances = [(4.0, 0), (6.0, 0), (460.0, 1)]
    rows = [
        result("rgs", 0, 1, f"s{i}", 0.5, hd_mm=hd, missed=missed)
        for i, (hd, missed) in enumerate(distances)
    ]
    # In healthy lungs nothing was found, or something: counted, and no distance either.
    rows += [
        result("rgs", 0, 1, "healthy", 1, hd_mm=0, expert_ml=0.0),
        result("rgs", 0, 1, "alarm", 0, hd_mm=460, expert_ml=0.0, false_alarm=1),
    ]
    _, lines = lines_of(rows, ["rgs"])
    assert lines["RGS"]["HD (mm), median ↓"].text == "6.00"
    assert lines["RGS"]["HD (mm), mean where found"].text == "5.00"
    assert (lines["RGS"]["Missed"].text, lines["RGS"]["False alarms"].text) == ("1 of 3", "1 of 2")


def test_where_nothing_was_found_there_is_no_distance():
    rows = [result("rgs", 0, 1, "s0", 0, hd_mm=460, missed=1)]
    _, lines = lines_of(rows, ["rgs"])
    assert lines["RGS"]["HD (mm), mean where found"].text == "–"
    healthy = [result("rgs", 0, 1, "s0", 1, hd_mm=0, expert_ml=0.0)]
    assert lines_of(healthy, ["rgs"])[1]["RGS"]["HD (mm), median ↓"].text == "–"


def test_who_misses_the_hard_ones_is_not_marked_for_the_short_distances_left():
    rows = [
        result("rgs", 0, 1, "easy", 0.9, hd_mm=1),
        result("rgs", 0, 1, "hard", 0, hd_mm=460, missed=1),
        result("equal", 0, 1, "easy", 0.9, hd_mm=2),
        result("equal", 0, 1, "hard", 0.5, hd_mm=9),
    ]
    _, lines = lines_of(rows, ["rgs", "equal"])
    assert not any(line["HD (mm), mean where found"].best for line in lines.values())
    assert lines["Equal"]["HD (mm), median ↓"].best
