from examples.covid3d.measure.report.paper import TABLE4
from examples.covid3d.measure.report.tables.papers import table4
from tests.covid3d.measure.report.measured_rows import ROWS, best, rows_by, texts


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
