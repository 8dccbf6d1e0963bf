"""One DICOM series: order, rescaling, world coordinates, and what is refused."""

import dataclasses
import sys

import nibabel
import numpy as np
import pytest

from examples.covid3d.common.errors import UserError
from examples.covid3d.scans.dicom import (
    UnusableSeriesError,
    arrange,
    find_series,
    list_series,
    read_series,
)
from examples.covid3d.scans.nifti import load_image
from examples.covid3d.scans.readers.scan import Scan
from examples.covid3d.scans.volumes import checksum_of, load_scan
from tests.covid3d.scans.readers.dicom_files import chest, stored_pixels, write_series

OBLIQUE = nibabel.affines.from_matvec(
    nibabel.eulerangles.euler2mat(0.1, 0.05, 0.2) @ np.diag([-0.8, -0.7, 2.5]), [30, -50, 700]
)


@pytest.mark.parametrize(
    "affine",
    [
        np.array([[-0.8, 0, 0, 90], [0, -0.7, 0, 120], [0, 0, 2.5, -340], [0, 0, 0, 1.0]]),
        np.array([[-0.8, 0, 0, 90], [0, 0.7, 0, -120], [0, 0, 2.5, -340], [0, 0, 0, 1.0]]),
        np.array([[0.0, 0.8, 0, 90], [0.7, 0, 0, 120], [0, 0, 2.5, 1000], [0, 0, 0, 1.0]]),
        OBLIQUE,
    ],
    ids=["usual", "rows-towards-the-front", "transposed", "oblique"],
)
def test_voxels_and_their_places_whatever_files_and_numbers_say(tmp_path, affine):
    volume = chest()
    files = write_series(tmp_path, volume, affine)
    assert sorted(files.values()) != [files[k] for k in range(10)]
    # The file holds what a scanner stores, 1024 above Hounsfield units.
    np.testing.assert_array_equal(stored_pixels(files[3], 6, 5), volume[:, :, 3] + 1024)
    found, grid = read_series(tmp_path, "1.2.3")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, volume)
    assert grid.shape == volume.shape
    np.testing.assert_allclose(grid.affine, affine, atol=1e-4)


def test_slices_from_head_to_feet_come_out_from_feet_to_head(tmp_path):
    affine = np.array([[-0.8, 0, 0, 90], [0, -0.7, 0, 120], [0, 0, -2.5, 300], [0, 0, 0, 1.0]])
    volume = chest()
    write_series(tmp_path, volume, affine)
    found, grid = read_series(tmp_path, "1.2.3")
    np.testing.assert_array_equal(found, volume[:, :, ::-1])
    for k in (0, 9):
        np.testing.assert_allclose(grid.affine @ [2, 3, k, 1], affine @ [2, 3, 9 - k, 1], atol=1e-4)


def test_slope_and_intercept_of_each_slice(tmp_path):
    volume = chest() // 4 * 4
    write_series(tmp_path, volume, slope=2, intercept=-1000, skip=range(5, 10))
    write_series(tmp_path, volume, slope=4, intercept=-1024, skip=range(5), prefix="B")
    np.testing.assert_array_equal(read_series(tmp_path, "1.2.3")[0], volume)


def test_rounded_positions_pass_and_keep_the_mean_spacing(tmp_path):
    positions = [(0.0, 0.0, round(0.75 * k, 1)) for k in range(41)]
    write_series(tmp_path, chest(41), positions=positions)
    series = find_series(tmp_path, "1.2.3")
    assert series.grid.spacing[2] == pytest.approx(0.75)
    assert series.length == pytest.approx(41 * 0.75)


def lines(**change):
    """Positions of ten slices, LPS mm."""
    return [tuple(change.get(f"at{k}", (0.0, 0.0, 2.5 * k))) for k in range(10)]


TILT = np.tan(np.radians(12))
FRONTAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"skip": (4,)}, "from 2.5 to 5 mm apart"),
        ({"skip": (1,)}, "from 2.5 to 5 mm apart"),
        ({"positions": lines(at4=(0, 0, 7.5))}, "2 slices at one position"),
        ({"positions": lines(at4=(0, 0, 10.4))}, "even spacing"),
        ({"positions": lines(at4=(1, 0, 10.0))}, "even spacing"),
        ({"positions": [(0, 2.5 * k * TILT, 2.5 * k) for k in range(10)]}, "tilted by 12 degrees"),
        ({"plane": FRONTAL, "positions": [(0, k, 0) for k in range(10)]}, "not axial"),
        ({"skip": range(1, 10)}, "at least 2"),
    ],
)
def test_refused_geometry(tmp_path, options, words):
    write_series(tmp_path, chest(), **options)
    with pytest.raises(UserError, match=words):
        read_series(tmp_path, "1.2.3")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"patient": "P2"}, "different patients"),
        ({"volume": chest(20, columns=7)}, "different sizes"),
        ({"affine": np.diag([-0.9, -0.7, 2.5, 1])}, "different pixel spacings"),
        ({"plane": (0.8, 0.6, 0, -0.6, 0.8, 0)}, "different orientations"),
    ],
)
def test_refused_mixtures(tmp_path, options, words):
    write_series(tmp_path, chest(20), skip=range(10, 20))
    write_series(tmp_path, **{"volume": chest(20), "skip": range(10), "prefix": "B", **options})
    with pytest.raises(UserError, match=words):
        read_series(tmp_path, "1.2.3")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": (6, 5, 2)}, "no functional groups"),
        ({"samples": 3}, "colour"),
        ({"position": ()}, "no position of 3 numbers"),
        ({"position": (0.0, float("nan"), 0.0)}, "no position of 3 numbers"),
        ({"spacing": (0.7,)}, "no spacing of 2 numbers"),
        ({"spacing": (0.0, 0.7)}, "above 0 mm"),
        ({"orientation": ()}, "no orientation of 6 numbers"),
        ({"orientation": (1.0, 0.0, 0.0, 0.6, 0.8, 0.0)}, "perpendicular"),
        ({"orientation": (1.0, 0.0, 0.0, 0.0, 1.1, 0.0)}, "perpendicular"),
    ],
)
def test_headers_that_make_no_volume(tmp_path, change, words):
    headers, _ = list_series(write_series(tmp_path, chest()).values())
    assert len(arrange(headers["1.2.3"]).files) == 10
    with pytest.raises(UnusableSeriesError, match=words):
        arrange([dataclasses.replace(header, **change) for header in headers["1.2.3"]])


def test_a_mixture_that_is_none_passes(tmp_path):
    write_series(tmp_path, chest(20), skip=range(10, 20))
    write_series(tmp_path, chest(20), skip=range(10), prefix="B")
    np.testing.assert_array_equal(read_series(tmp_path, "1.2.3")[0], chest(20))


def test_series_are_told_apart_and_other_files_named(tmp_path):
    first = write_series(tmp_path, chest(10), uid="1.1")
    second = write_series(tmp_path, chest(8, seed=1), uid="1.2", prefix="B")
    fake = tmp_path / "fake.dcm"
    fake.write_text("I am no image")
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(first[0].read_bytes()[:-7])
    headers, unreadable = list_series([fake, cut, *second.values(), *first.values()])
    assert {uid: {s.path for s in slices} for uid, slices in headers.items()} == {
        "1.1": set(first.values()),
        "1.2": set(second.values()),
    }
    assert [path for path, _ in unreadable] == [fake, cut]
    assert all(
        "no readable DICOM image (" in reason and "\n" not in reason for _, reason in unreadable
    )
    np.testing.assert_array_equal(read_series(tmp_path, "1.2")[0], chest(8, seed=1))


def test_a_patient_in_an_undeclared_character_set_can_be_written_down(tmp_path):
    files = write_series(tmp_path, chest(8), patient="MXller")
    for path in files.values():
        path.write_bytes(path.read_bytes().replace(b"MXller", b"M\xfcller"))
    patient = find_series(tmp_path, "1.2.3").patient
    assert patient.encode("utf-8").startswith(b"M")
    assert patient.endswith("ller")


def test_missing_series_and_folder(tmp_path):
    write_series(tmp_path, chest())
    with pytest.raises(UserError, match="no file of that series"):
        read_series(tmp_path, "9.9")
    with pytest.raises(UserError, match="no such folder"):
        read_series(tmp_path / "gone", "1.2.3")


def test_without_simpleitk_the_error_names_the_extra(tmp_path, monkeypatch):
    write_series(tmp_path, chest())
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(UserError, match="covid3d"):
        read_series(tmp_path, "1.2.3")


def test_load_scan_and_checksum(tmp_path, write_scan):
    volume = chest()
    files = write_series(tmp_path / "series", volume, seed=3)
    scan = Scan("a", "p", "hospital", tmp_path / "series", None, "1.2.3")
    np.testing.assert_array_equal(load_scan(scan)[0], volume)
    own = checksum_of(*load_scan(scan))
    for k, path in files.items():
        path.rename(path.with_name(f"other{(7 * k) % 10}.dcm"))
    assert checksum_of(*load_scan(scan)) == own

    scan = Scan("b", "p", "csv", write_scan(volume), None)
    np.testing.assert_array_equal(load_scan(scan)[0], volume)
    with pytest.raises(UserError, match="no such file"):
        load_scan(Scan("c", "p", "csv", tmp_path / "gone.nii.gz", None))


def test_real_chest_written_as_dicom_is_the_same_array_and_affine(tmp_path, real_data):
    path = real_data / "lidc_ct" / "LIDC-IDRI-0001_ct.nii.gz"
    volume, grid = load_image(path)
    low, high = 45, 85
    cropped = volume[:, :, low:high]
    affine = grid.affine.copy()
    affine[:3, 3] += low * affine[:3, 2]
    assert cropped.min() == -2048
    assert cropped.max() > 1000
    files = write_series(tmp_path, cropped.astype(np.int16), affine)
    assert len(files) == 40
    found, own = read_series(tmp_path, "1.2.3")
    np.testing.assert_array_equal(found, cropped)
    assert own.shape == cropped.shape
    np.testing.assert_allclose(own.affine, affine, atol=1e-4)
