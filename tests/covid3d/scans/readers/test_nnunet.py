import pytest

from examples.covid3d.common.errors import UserError
from examples.covid3d.scans.readers.nnunet import read
from tests.covid3d.scans.readers.tree import plant, reasons


def summary(found):
    return {s.name: (s.image.name, s.mask and s.mask.name) for s in found.scans}


def test_names_with_and_without_a_channel(tmp_path):
    plant(tmp_path, "imagesTr/a_001.nii.gz", "labelsTr/a_001.nii.gz", "imagesTs/test.nii.gz")
    plant(tmp_path, "imagesTr/b_002_0000.nii.gz", "labelsTr/b_002.nii.gz", "labelsTs/test.nii.gz")
    plant(tmp_path, "imagesTr/c_0000.nii.gz", "imagesTr/._a_001.nii.gz", "labelsTr/._b.nii.gz")
    found = read(tmp_path)
    assert found.rejected == []
    assert summary(found) == {
        "a_001": ("a_001.nii.gz", "a_001.nii.gz"),
        "b_002": ("b_002_0000.nii.gz", "b_002.nii.gz"),
        "c": ("c_0000.nii.gz", None),
    }
    assert all((s.patient, s.source) == (s.name, "nnunet") for s in found.scans)


def test_several_channels_and_a_missing_first_one_are_rejected(tmp_path):
    plant(tmp_path, *(f"imagesTr/a_{channel:04d}.nii.gz" for channel in (0, 1, 3)))
    plant(tmp_path, "imagesTr/b_0001.nii.gz", "labelsTr/a.nii.gz", "labelsTr/z.nii.gz")
    found = read(tmp_path)
    assert found.scans == []
    assert reasons(found) == {
        "a": "3 channels (0000, 0001, 0003); one is expected",
        "b": "channel 0001 without channel 0000; one is expected",
        "z.nii.gz": "a label without a case z in imagesTr",
    }


def test_four_digits_are_a_number_where_a_label_says_so(tmp_path):
    plant(tmp_path, "imagesTr/case_0001.nii.gz", "imagesTr/case_0002.nii.gz")
    plant(tmp_path, "imagesTr/case_0003.nii.gz", "labelsTr/case_0001.nii.gz")
    found = read(tmp_path)
    assert found.rejected == []
    assert {name: mask for name, (_, mask) in summary(found).items()} == {
        "case_0001": "case_0001.nii.gz",
        "case_0002": None,
        "case_0003": None,
    }


@pytest.mark.parametrize(
    "files",
    [
        ("imagesTr/a.nii.gz", "imagesTr/a_0000.nii.gz"),
        ("imagesTr/a.nii.gz", "imagesTr/a.nii"),
        ("imagesTr/a.nii.gz", "labelsTr/a.nii", "labelsTr/a.nii.gz"),
    ],
)
def test_two_files_of_one_case_are_an_error(tmp_path, files):
    with pytest.raises(UserError, match="second file of"):
        read(plant(tmp_path, *files))


def test_no_images_folder_is_an_error(tmp_path):
    with pytest.raises(UserError, match="imagesTr: no such folder"):
        read(plant(tmp_path, "labelsTr/a.nii.gz"))


def test_real_folder(real_data):
    found = read(real_data / "hippocampus")
    assert len(found.scans) == 160
    assert found.rejected == []
    assert all(scan.mask is not None for scan in found.scans)
