"""What cannot be used is left out, with the reason; the rest is prepared."""

import shutil

import numpy as np
import pytest

from examples.covid3d.common.errors import UserError
from examples.covid3d.common.files import read_csv, write_nifti
from examples.covid3d.scans.manifest import read_manifest
from examples.covid3d.scans.prepare import prepare
from tests.covid3d.running import nnunet, small

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])
SHAPE = (20, 18, 16)


def cut_short(image, mask):
    del mask
    image.write_bytes(image.read_bytes()[:300])


def no_image(image, mask):
    del mask
    image.write_bytes(b"")


def other_shape(image, mask):
    del image
    write_nifti(mask, np.zeros((20, 18, 15), np.uint8), AFFINE)


def other_affine(image, mask):
    del image
    write_nifti(mask, np.zeros(SHAPE, np.uint8), np.diag([2.0, 2.0, 3.5, 1.0]))


def other_labels(image, mask):
    del image
    write_nifti(mask, np.full(SHAPE, 3, np.uint8), AFFINE)


def corrupt_mask(image, mask):
    del image
    mask.write_bytes(b"nothing")


def not_a_number(image, mask):
    del mask
    write_nifti(image, np.full(SHAPE, np.nan, np.float32), AFFINE)


def odd_range(image, mask):
    del mask
    write_nifti(image, np.linspace(0, 4095, np.prod(SHAPE)).reshape(SHAPE), AFFINE)


def the_same_bytes(image, mask):
    del mask
    shutil.copy(image.with_name("case01.nii.gz"), image)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (cut_short, "cannot be read"),
        (no_image, "cannot be read"),
        (other_shape, "shape (20, 18, 15)"),
        (other_affine, "mm away from that of its scan"),
        (other_labels, "not known: 3"),
        (corrupt_mask, "cannot be read"),
        (not_a_number, "NaN"),
        (odd_range, "values from 0 to 4095"),
        (the_same_bytes, "the same voxels as case01"),
    ],
)
def test_one_bad_scan_is_rejected_with_its_reason(tmp_path, damage, reason):
    data = nnunet(tmp_path / "data", 3)
    bad = data / "imagesTr" / "case02.nii.gz"
    damage(bad, data / "labelsTr" / "case02.nii.gz")
    folder = tmp_path / "run"
    folder.mkdir()
    prepare(small(data=str(data)), folder, tmp_path / "none")
    assert [entry.name for entry in read_manifest(folder)] == ["case00", "case01"]
    (row,) = read_csv(folder / "rejected.csv")
    assert row["where"] == str(bad)
    assert reason in row["reason"]
    assert "\n" not in row["reason"]
    assert not list(folder.rglob(".partial*"))


def test_what_the_reader_rejects_is_there_too(tmp_path):
    data = nnunet(tmp_path / "data", 3)
    (data / "imagesTr" / "case02.nii.gz").unlink()
    (tmp_path / "run").mkdir()
    prepare(small(data=str(data)), tmp_path / "run", tmp_path / "none")
    (row,) = read_csv(tmp_path / "run" / "rejected.csv")
    assert "without a case" in row["reason"]


def test_a_copy_in_the_unlabelled_dataset_cannot_be_on_both_sides(tmp_path):
    data, other = nnunet(tmp_path / "data", 3), nnunet(tmp_path / "other", 1, seed=7)
    shutil.copy(data / "imagesTr" / "case00.nii.gz", other / "imagesTr" / "renamed.nii.gz")
    (other / "imagesTr" / "case00.nii.gz").rename(other / "imagesTr" / "fresh.nii.gz")
    (other / "labelsTr" / "case00.nii.gz").unlink()
    (tmp_path / "run").mkdir()
    config = small(data=str(data), unlabelled=str(other))
    prepare(config, tmp_path / "run", tmp_path / "none")
    names = [(e.name, e.dataset) for e in read_manifest(tmp_path / "run")]
    assert names == [*((f"case0{i}", "data") for i in range(3)), ("fresh", "unlabelled")]
    (row,) = read_csv(tmp_path / "run" / "rejected.csv")
    assert "the same voxels as case00" in row["reason"]


def test_nothing_usable_is_an_error(tmp_path):
    data = nnunet(tmp_path / "data", 2)
    for path in (data / "imagesTr").iterdir():
        path.write_bytes(b"x")
    (tmp_path / "run").mkdir()
    with pytest.raises(UserError, match="none of 2 scans is usable"):
        prepare(small(data=str(data)), tmp_path / "run", tmp_path / "none")
    assert not (tmp_path / "run" / "manifest.csv").exists()
