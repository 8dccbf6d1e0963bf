import locale

from examples.covid3d.scans.dicom import read_series
from tests.covid3d.scans.readers.dicom_files import write_series


def test_reading_leaves_the_locale_as_it_was(tmp_path):
    import numpy as np

    before = locale.setlocale(locale.LC_ALL)
    write_series(tmp_path, np.zeros((8, 8, 9), dtype=np.int16))
    read_series(tmp_path, "1.2.3")
    assert locale.setlocale(locale.LC_ALL) == before
