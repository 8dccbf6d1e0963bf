"""Enhanced CT: one file, many frames, each with its own place."""

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.covid3d.common.errors import UserError
from examples.covid3d.scans.dicom import read_series
from examples.covid3d.scans.readers import dicom_folder, hospital
from examples.covid3d.scans.readers.dicom_frames import read_frames
from tests.covid3d.scans.readers.dicom_files import chest, write_series
from tests.covid3d.scans.readers.multiframe_files import write_multiframe

COUNT = 10
UP = [(-90.0, -120.0, -340.0 + 2.5 * k) for k in range(COUNT)]
AFFINE = np.array([[-0.8, 0, 0, 90], [0, -0.7, 0, 120], [0, 0, 2.5, -340], [0, 0, 0, 1.0]])
FRONTAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)


@pytest.mark.parametrize(
    "layout",
    [{}, {"shared": False}, {"implicit": True}, {"undefined": True},
     {"implicit": True, "undefined": True, "shared": False}],
)  # fmt: skip
def test_voxels_and_their_places(tmp_path, layout):
    write_multiframe(tmp_path / "a.dcm", chest(), UP, **layout)
    found, grid = read_series(tmp_path, "1.2.3")
    np.testing.assert_array_equal(found, chest())
    np.testing.assert_allclose(grid.affine, AFFINE, atol=1e-4)


@pytest.mark.parametrize("order", [range(COUNT)[::-1], [(3 * k) % COUNT for k in range(COUNT)]])
def test_frames_come_in_order_of_their_place(tmp_path, order):
    order = list(order)
    write_multiframe(tmp_path / "a.dcm", chest()[:, :, order], [UP[k] for k in order])
    found, grid = read_series(tmp_path, "1.2.3")
    np.testing.assert_array_equal(found, chest())
    np.testing.assert_allclose(grid.affine, AFFINE, atol=1e-4)


def test_each_frame_has_its_own_rescale(tmp_path):
    volume = chest() // 4 * 4
    each = [(1.0, -1024.0)] * 3 + [(2.0, -1024.0)] * 4 + [(4.0, -2048.0)] * 3
    write_multiframe(tmp_path / "a.dcm", volume, UP, each)
    np.testing.assert_array_equal(read_series(tmp_path, "1.2.3")[0], volume)


def test_a_series_may_be_of_several_such_files(tmp_path):
    write_multiframe(tmp_path / "b.dcm", chest()[:, :, :6], UP[:6])
    write_multiframe(tmp_path / "a.dcm", chest()[:, :, 6:], UP[6:])
    np.testing.assert_array_equal(read_series(tmp_path, "1.2.3")[0], chest())


def moved(**change):
    return [change.get(f"at{k}", place) for k, place in enumerate(UP)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"positions": moved(at9=(-90.0, -120.0, -315.0))}, "from 2.5 to 5 mm apart"),
        ({"positions": moved(at4=UP[5])}, "2 slices at one position"),
        ({"plane": [(1.0, 0, 0, 0, 1, 0)] * 9 + [(0.8, 0.6, 0, -0.6, 0.8, 0)]}, "orientations"),
        ({"plane": FRONTAL}, "not axial"),
        ({"groups": False}, "no functional groups"),
        ({"spacing": (700.0, 800.0)}, "voxels of 800 x 700 x 2.5 mm"),
    ],
)
def test_frames_that_make_no_volume_are_rejected_with_the_reason(tmp_path, options, words):
    path = tmp_path / "data" / "p" / "a.dcm"
    write_multiframe(path, chest(), **{"positions": UP, **options})
    found = hospital.read(tmp_path / "data")
    assert found.scans == []
    (rejected,) = found.rejected
    assert words in rejected.reason
    with pytest.raises(UserError, match=words):
        read_series(path.parent, "1.2.3")


def test_a_slope_of_zero_and_a_header_that_is_cut_are_no_image(tmp_path):
    write_multiframe(tmp_path / "zero.dcm", chest(), UP, shared=False)
    content = (tmp_path / "zero.dcm").read_bytes()
    last = content.rindex(b"\x28\0\x53\x10DS\x02\x001 ")
    (tmp_path / "zero.dcm").write_bytes(content[: last + 8] + b"0 " + content[last + 10 :])
    (tmp_path / "cut.dcm").write_bytes(content[:900])
    found = hospital.read(tmp_path)
    assert found.scans == []
    assert ["no readable DICOM image" in one.reason for one in found.rejected] == [True, True]
    assert "slope of 0" in found.rejected[1].reason


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    path = tmp_path_factory.mktemp("stored") / "a.dcm"
    write_multiframe(path, chest(), UP, undefined=True)
    return path, path.read_bytes()


@given(st.dictionaries(st.integers(132, 1900), st.integers(0, 255), min_size=1, max_size=5))
def test_of_a_damaged_header_nothing_worse_than_bad_values_comes(stored, damage):
    path, content = stored
    damaged = bytearray(content)
    for at, byte in damage.items():
        damaged[at] = byte
    path.write_bytes(damaged)
    with contextlib.suppress(ValueError):
        read_frames(path)


def test_it_is_a_scan_of_its_patient_beside_those_of_single_slices(tmp_path):
    write_multiframe(tmp_path / "one" / "IM1", chest(), UP, patient="M\xfcller", uid="1.1")
    write_series(tmp_path / "two", chest(seed=1), patient="P2", uid="1.2")
    found = hospital.read(tmp_path)
    assert found.rejected == []
    assert [(s.name, s.patient, s.series) for s in found.scans] == [
        ("one", "Müller", "1.1"),
        ("two", "P2", "1.2"),
    ]


def test_headers_are_read_once_until_a_file_changes(tmp_path, monkeypatch):
    files = write_series(tmp_path / "p", chest())
    read = []
    real = dicom_folder.list_series

    def counted(paths):
        paths = list(paths)
        read.extend(paths)
        return real(paths)

    monkeypatch.setattr(dicom_folder, "list_series", counted)
    for _ in range(2):
        (scan,) = hospital.read(tmp_path).scans
        read_series(scan.image, scan.series)
    assert len(read) == len(files)
    write_multiframe(tmp_path / "p" / "new.dcm", chest(), UP, uid="9.9")
    assert len(hospital.read(tmp_path).rejected) == 1
    assert len(read) == 2 * len(files) + 1
