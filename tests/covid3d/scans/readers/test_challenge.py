import pytest

from examples.covid3d.common.errors import UserError
from examples.covid3d.scans.readers.challenge import read
from tests.covid3d.scans.readers.tree import plant, reasons


def test_pairs_with_gaps_in_the_numbering_and_scans_without_mask(tmp_path):
    plant(
        tmp_path,
        "volume-covid19-A-0003_ct.nii.gz",
        "volume-covid19-A-0003_seg.nii.gz",
        "volume-covid19-A-0011_ct.nii",
        "volume-covid19-A-0011_seg.nii.gz",
        "volume-covid19-A-0698_ct.nii.gz",
        "volume-covid19-A-0003_readers.nii.gz",
        "._volume-covid19-A-0003_ct.nii.gz",
    )
    found = read(tmp_path)
    assert found.rejected == []
    assert [(s.name, s.patient, s.image.name, s.mask and s.mask.name) for s in found.scans] == [
        (
            "volume-covid19-A-0003",
            "volume-covid19-A-0003",
            "volume-covid19-A-0003_ct.nii.gz",
            "volume-covid19-A-0003_seg.nii.gz",
        ),
        (
            "volume-covid19-A-0011",
            "volume-covid19-A-0011",
            "volume-covid19-A-0011_ct.nii",
            "volume-covid19-A-0011_seg.nii.gz",
        ),
        (
            "volume-covid19-A-0698",
            "volume-covid19-A-0698",
            "volume-covid19-A-0698_ct.nii.gz",
            None,
        ),
    ]
    assert {scan.source for scan in found.scans} == {"challenge"}


def test_training_and_validation_folders(tmp_path):
    plant(tmp_path, "Train/a_ct.nii.gz", "Train/a_seg.nii.gz", "Validation/b_ct.nii.gz")
    plant(tmp_path, "Elsewhere/b_seg.nii.gz", ".hidden/c_ct.nii.gz")
    found = read(tmp_path)
    assert [(s.name, s.mask is not None) for s in found.scans] == [("a", True), ("b", False)]
    assert reasons(found) == {"b_seg.nii.gz": "a mask without b_ct.nii.gz beside it"}


def test_mask_without_scan_is_rejected(tmp_path):
    plant(tmp_path, "a_ct.nii.gz", "b_seg.nii.gz", "_seg.nii.gz")
    found = read(tmp_path)
    assert [s.name for s in found.scans] == ["a"]
    assert reasons(found) == {"b_seg.nii.gz": "a mask without b_ct.nii.gz beside it"}


@pytest.mark.parametrize(
    "files",
    [
        ("a_ct.nii", "a_ct.nii.gz"),
        ("a_ct.nii", "a_seg.nii", "a_seg.nii.gz"),
        ("Train/a_ct.nii.gz", "Validation/a_ct.nii.gz"),
    ],
)
def test_two_files_of_one_scan_are_an_error(tmp_path, files):
    with pytest.raises(UserError, match="second file of scan"):
        read(plant(tmp_path, *files))


def test_real_folder(real_data):
    found = read(real_data / "lidc_ct")
    assert [(s.name, s.mask.name) for s in found.scans] == [
        ("LIDC-IDRI-0001", "LIDC-IDRI-0001_seg.nii.gz")
    ]
    assert found.rejected == []
