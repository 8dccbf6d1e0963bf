from examples.covid3d.measure.report.tables.every_metric import all_metrics_table
from tests.covid3d.measure.report.measured_rows import LABELS, ROWS, rows_by, texts


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
