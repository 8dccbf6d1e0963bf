"""A hospital's folder: which series is the scan, and why the others are not."""

import sys

import numpy as np
import pytest

from examples.covid3d.common.errors import UserError
from examples.covid3d.scans.readers.hospital import MIN_SLICES, read
from examples.covid3d.scans.volumes import load_scan
from tests.covid3d.scans.readers.dicom_files import chest, sitk, write_series
from tests.covid3d.scans.readers.tree import plant, reasons

SAGITTAL = np.array([[0, 0, 2.5, 0], [-0.8, 0, 0, 0], [0, -0.7, 0, 0], [0, 0, 0, 1.0]])


def test_a_folder_per_scan_at_any_depth(tmp_path):
    write_series(tmp_path / "Case 1", chest(seed=1), uid="1.1", patient="P1")
    write_series(tmp_path / "c2" / "study" / "series", chest(seed=2), uid="1.2", patient="")
    write_series(tmp_path / "c2" / "study" / "later", chest(seed=3), uid="1.3", patient="")
    plant(tmp_path, "c3.nii.gz", "c4/first.nii", "c4/deep/second.nii.gz", "c4/._first.nii")
    (tmp_path / "Case 1" / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    (tmp_path / "Case 1" / "report.txt").write_text("fine")
    found = read(tmp_path)
    assert found.rejected == []
    assert [(s.name, s.patient, s.series) for s in found.scans] == [
        ("Case-1", "P1", "1.1"),
        ("c2_study_later", "c2", "1.3"),
        ("c2_study_series", "c2", "1.2"),
        ("c3", "c3", None),
        ("c4_deep_second", "c4", None),
        ("c4_first", "c4", None),
    ]
    assert all(s.mask is None and s.source == "hospital" for s in found.scans)
    for scan, seed in zip(found.scans[:3], (1, 3, 2), strict=True):
        np.testing.assert_array_equal(load_scan(scan)[0], chest(seed=seed))


def test_a_folder_that_is_one_scan_itself(tmp_path):
    write_series(tmp_path / "Someone", chest(), patient="")
    found = read(tmp_path / "Someone")
    assert [(s.name, s.patient) for s in found.scans] == [("Someone", "Someone")]


def test_files_without_suffix_are_known_by_their_mark(tmp_path):
    for path in write_series(tmp_path / "a", chest()).values():
        path.rename(path.with_suffix(""))
    assert len(read(tmp_path).scans) == 1


def test_the_longest_axial_series_of_a_folder(tmp_path):
    """Length in mm counts; the number of slices among those as long, and never a sagittal one."""
    place = tmp_path / "a"
    millimetre = np.diag([-0.8, -0.7, 1.0, 1])
    write_series(place, chest(10), uid="1.1", prefix="a")
    write_series(place, chest(12), np.diag([-0.8, -0.7, 2.0, 1]), uid="1.2", prefix="b")
    write_series(place, chest(20), millimetre, uid="1.3", prefix="c")
    write_series(place, chest(40), SAGITTAL, uid="1.4", prefix="d")
    write_series(place, chest(40), uid="1.5", prefix="e", modality="PT")
    write_series(place, chest(40), uid="1.6", prefix="f", skip=(9,))
    write_series(place, chest(2), uid="1.7", prefix="g")
    write_series(place, chest(40), uid="1.8", prefix="h", modality="MR")
    found = read(tmp_path)
    # 10 slices of 2.5 mm are 25 mm; 12 of 2 mm are 24, within 5 % of that, and more slices. The 20
    # of 1 mm are most, and too short.
    assert [s.series for s in found.scans] == ["1.2"]
    assert reasons(found) == {
        "a, series 1.1": "not the longest axial series here; 1.2 is",
        "a, series 1.3": "not the longest axial series here; 1.2 is",
        "a, series 1.4": "not axial: more than 25 degrees off the body's long axis",
        "a, series 1.5": "modality PT; CT (or MR) is expected",
        "a, series 1.6": "slices from 2.5 to 5 mm apart; even spacing is expected (to 10% of it): "
        "a slice is missing, or two scans are one series",
        "a, series 1.7": "2 slices; at least 8 are needed",
        "a, series 1.8": "not the longest axial series here; 1.2 is",
    }


def test_what_is_unusable_is_rejected_and_the_rest_goes_on(tmp_path):
    write_series(tmp_path / "good", chest(), uid="1.1")
    (tmp_path / "good" / "fake.dcm").write_text("I am no image")
    write_series(tmp_path / "gap", chest(), uid="1.2", skip=(5,))
    write_series(tmp_path / "sagittal", chest(), SAGITTAL, uid="1.3")
    write_series(tmp_path / "scout", chest(2), uid="1.4")
    write_series(tmp_path / "copy", chest(), uid="1.1")
    cut = write_series(tmp_path / "cut", chest(), uid="1.5")[5]
    cut.write_bytes(cut.read_bytes()[:400])
    plant(tmp_path, "flat.nii.gz", shape=(64, 64, MIN_SLICES - 1))
    plant(tmp_path, "rgb.nii.gz", shape=(9, 9, 9, 3))
    (tmp_path / "text.nii.gz").write_text("hello")
    (tmp_path / "empty.nii").touch()
    plant(tmp_path, "typed.nii", "packed.nii.gz")
    damaged = bytearray((tmp_path / "typed.nii").read_bytes())
    damaged[70:72] = b"\x63\x00"  # a data type that NIfTI does not have
    (tmp_path / "typed.nii").write_bytes(damaged)
    damaged = bytearray((tmp_path / "packed.nii.gz").read_bytes())
    damaged[12:60] = b"\xff" * 48
    (tmp_path / "packed.nii.gz").write_bytes(damaged)
    found = read(tmp_path)
    # Of two copies the first by path is taken.
    assert [s.name for s in found.scans] == ["copy"]
    shown = reasons(found)
    assert set(shown) == {
        "fake.dcm",
        "good, series 1.1",
        "gap, series 1.2",
        "sagittal, series 1.3",
        "scout, series 1.4",
        cut.name,
        "cut, series 1.5",
        "flat.nii.gz",
        "rgb.nii.gz",
        "text.nii.gz",
        "empty.nii",
        "typed.nii",
        "packed.nii.gz",
    }
    assert "no readable DICOM image" in shown["fake.dcm"]
    assert shown["good, series 1.1"] == f"the same series as in {tmp_path / 'copy'}"
    assert "mm apart" in shown["cut, series 1.5"]
    assert shown["flat.nii.gz"] == "shape (64, 64, 7); at least 8 slices are needed"
    assert "3D" in shown["rgb.nii.gz"]
    assert all("\n" not in reason for reason in shown.values())


def test_nifti_files_need_no_simpleitk_and_dicom_says_that_it_does(tmp_path, monkeypatch):
    plant(tmp_path, "a/a.nii.gz")
    write_series(tmp_path / "b" / "c", chest())
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    assert len(read(tmp_path / "a").scans) == 1
    with pytest.raises(UserError, match="covid3d"):
        read(tmp_path / "b")


def test_mixed_folder_is_one_patient(tmp_path):
    """A series converted to NIfTI often lies beside its DICOM files."""
    write_series(tmp_path / "a", chest(), patient="P7")
    plant(tmp_path, "a/converted.nii.gz")
    found = read(tmp_path)
    assert [(s.name, s.patient) for s in found.scans] == [("a", "P7"), ("a_converted", "P7")]


def test_names_that_would_be_alike_are_told_apart_the_same_way_each_time(tmp_path):
    plant(tmp_path, "a_b.nii.gz", "a/b.nii.gz", "a/B.nii", "a/b.nii", "c d.nii")
    names = [scan.name for scan in read(tmp_path).scans]
    assert len({name.lower() for name in names}) == 5
    assert "c-d" in names
    assert names == [scan.name for scan in read(tmp_path).scans]


def test_the_same_frames_in_every_file_and_colour_are_rejected(tmp_path):
    for folder, pixels, colour in (
        ("frames", np.zeros((9, 16, 16), np.uint8), False),
        ("colour", np.zeros((1, 16, 16, 3), np.uint8), True),
    ):
        (tmp_path / folder).mkdir()
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        for index in range(MIN_SLICES):
            image = sitk.GetImageFromArray(pixels, isVector=colour)
            image.SetMetaData("0020|000e", f"1.{len(folder)}.{colour:d}")
            image.SetMetaData("0008|0060", "CT")
            writer.SetFileName(str(tmp_path / folder / f"{index}.dcm"))
            writer.Execute(image)
    found = read(tmp_path)
    assert found.scans == []
    assert reasons(found) == {
        "frames, series 1.6.0": "64 slices at one position",
        "colour, series 1.6.1": "colour images; grey values are expected",
    }
