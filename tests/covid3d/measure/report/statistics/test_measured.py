import pytest

from examples.covid3d.common.errors import UserError
from examples.covid3d.measure.report.statistics.measured import rows_of
from examples.covid3d.measure.report.statistics.summary import cell
from tests.covid3d.measure.report.measured_rows import result


def test_bad_rows_are_refused():
    row = result("rgs", 0, 1, "a", 0.5)
    with pytest.raises(UserError, match="two results of rgs for seed 0, fold 1, scan a"):
        rows_of([row, row], "rgs")
    with pytest.raises(UserError, match="no result of equal"):
        rows_of([row], "equal")
    for bad in ("", "nan", "inf", "high"):
        with pytest.raises(UserError, match="dice of rgs is"):
            cell([row | {"dice": bad}], "rgs", "dice")
    with pytest.raises(UserError, match="nsd of rgs is None"):
        cell([{k: v for k, v in row.items() if k != "nsd"}], "rgs", "nsd")
