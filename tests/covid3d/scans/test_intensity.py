import numpy as np
import pytest

from examples.covid3d.common.errors import UserError
from examples.covid3d.scans.intensity import WindowedScanWarning, to_unit_range

WINDOW = (-1250.0, 250.0)


@pytest.mark.filterwarnings("error")
def test_hounsfield_units_are_windowed():
    hu = np.array([-2048, -1250, -500, 250, 3071], dtype=np.float32)
    np.testing.assert_allclose(to_unit_range(hu, WINDOW, "a"), [0, 0, 0.5, 1, 1])


def test_volume_windowed_already_is_noticed_and_said():
    with pytest.warns(WindowedScanWarning, match=r"scan\.nii.*0 to 255.*not Hounsfield"):
        unit = to_unit_range(np.array([0, 51, 255], dtype=np.float32), WINDOW, "scan.nii")
    np.testing.assert_allclose(unit, [0, 0.2, 1])


def test_both_ways_of_storing_a_scan_give_the_same():
    hu = np.linspace(-1250, 250, 256, dtype=np.float32)
    stored = np.arange(256, dtype=np.float32)
    with pytest.warns(WindowedScanWarning):
        windowed = to_unit_range(stored, WINDOW, "a")
    np.testing.assert_allclose(windowed, to_unit_range(hu, WINDOW, "a"), atol=1e-6)


@pytest.mark.parametrize("values", [(0, 4095), (-100, 300), (0, 0), (0, 1)])
def test_other_ranges_are_refused_with_the_remedy(values):
    with pytest.raises(UserError, match=r"(?s)scan\.nii: values.*Expected:.*To mend it:"):
        to_unit_range(np.array(values, dtype=np.float32), WINDOW, "scan.nii")
