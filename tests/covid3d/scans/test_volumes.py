"""A scan's checksum is of its voxels and where they are, not of the bytes of its file."""

import gzip

import nibabel
import numpy as np
import pytest

from examples.covid3d.common.files import read_csv, write_nifti
from examples.covid3d.scans.geometry import Grid
from examples.covid3d.scans.manifest import read_manifest
from examples.covid3d.scans.prepare import prepare
from examples.covid3d.scans.readers.scan import Scan
from examples.covid3d.scans.volumes import checksum_of, load_scan, voxels_checksum
from tests.covid3d.running import nnunet, small

VOLUME = np.random.default_rng(0).integers(-1024, 1500, (6, 5, 10)).astype(np.float32)
AFFINE = np.array([[-0.8, 0, 0, 12.5], [0, -0.7, 0, -3], [0, 0, 2.5, 7], [0, 0, 0, 1.0]])


def checksum(volume=VOLUME, affine=AFFINE):
    return checksum_of(volume, Grid(volume.shape, affine))


def moved(millimetres):
    affine = AFFINE.copy()
    affine[1, 3] += millimetres
    return affine


def test_is_of_voxels_shape_and_position():
    other = VOLUME.copy()
    other[3, 2, 1] += 1
    different = [
        checksum(),
        checksum(other),
        checksum(VOLUME[::-1]),
        checksum(VOLUME.reshape(5, 6, 10)),
        checksum(affine=moved(0.5)),
        checksum(affine=AFFINE @ np.diag([1, 1, 1.1, 1])),
    ]
    assert len(set(different)) == len(different)
    assert len(different[0]) == 64


def test_is_the_same_for_other_memory_and_what_headers_lose():
    assert checksum(np.asfortranarray(VOLUME)) == checksum()
    assert checksum(affine=moved(1e-4)) == checksum()
    # Zeros have no sign.
    signed = AFFINE.copy()
    signed[0, 1] = signed[2, 0] = -0.0
    assert checksum(affine=signed) == checksum()


def stored(path, dtype=np.int16, slope=None):
    image = nibabel.Nifti1Image(VOLUME.astype(dtype), AFFINE)
    if slope is not None:
        image.header.set_slope_inter(slope)
    nibabel.save(image, path)
    return path


def test_files_of_the_same_voxels_have_the_same(tmp_path):
    first = stored(tmp_path / "a.nii")
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(first.read_bytes(), 1))
    (tmp_path / "c.nii.gz").write_bytes(gzip.compress(first.read_bytes(), 9))
    stored(tmp_path / "d.nii", np.float32)
    stored(tmp_path / "e.nii", np.int32)
    paths = sorted(tmp_path.iterdir())
    assert len({path.read_bytes() for path in paths}) == 5
    found = {checksum_of(*load_scan(Scan("x", "x", "x", path, None))) for path in paths}
    assert len(found) == 1


def test_so_has_the_dicom_series_that_a_nifti_file_was_made_from(tmp_path):
    files = pytest.importorskip("tests.covid3d.scans.readers.dicom_files")
    files.write_series(tmp_path / "dicom", VOLUME.astype(np.int16), AFFINE)
    series = Scan("x", "x", "x", tmp_path / "dicom", None, series="1.2.3")
    path = stored(tmp_path / "copy.nii.gz")
    own = checksum_of(*load_scan(series))
    volume, grid = load_scan(Scan("y", "y", "y", path, None))
    assert own == checksum_of(volume, grid)
    assert own != checksum_of(volume + 1, grid)


def test_a_copy_that_was_compressed_otherwise_is_rejected(tmp_path):
    data = nnunet(tmp_path / "data", 4)
    images = data / "imagesTr"
    first = gzip.decompress((images / "case00.nii.gz").read_bytes())
    (images / "case02.nii.gz").write_bytes(gzip.compress(first, 1))
    volume = nibabel.load(images / "case01.nii.gz").get_fdata().astype(np.float32)
    # The same voxels elsewhere are the same scan, too.
    write_nifti(images / "case03.nii.gz", volume, np.diag([2.0, 2.0, 2.0, 1.0]))
    write_nifti(
        data / "labelsTr" / "case03.nii.gz", np.zeros(volume.shape, np.uint8),
        np.diag([2.0, 2.0, 2.0, 1.0]),
    )  # fmt: skip
    (tmp_path / "run").mkdir()
    prepare(small(data=str(data)), tmp_path / "run", tmp_path / "none")
    assert [e.name for e in read_manifest(tmp_path / "run")] == ["case00", "case01"]
    row, other = read_csv(tmp_path / "run" / "rejected.csv")
    assert row["where"] == str(images / "case02.nii.gz")
    assert "the same voxels as case00" in row["reason"]
    assert other["where"] == str(images / "case03.nii.gz")
    assert "the same voxels as case01" in other["reason"]
    assert "placed otherwise" in other["reason"]


def test_values_alone_tell_copies_however_turned_and_no_other_scan():
    own = voxels_checksum(VOLUME)
    turned = (
        VOLUME[::-1],
        VOLUME[:, :, ::-1],
        VOLUME.transpose(2, 0, 1),
        np.asfortranarray(VOLUME),
    )
    assert {voxels_checksum(volume) for volume in turned} == {own}
    other = VOLUME.copy()
    other[3, 2, 1] += 1
    assert voxels_checksum(other) != own
    assert voxels_checksum(VOLUME.reshape(5, 3, 20)) != own
    zeros = np.zeros((4, 4, 4), np.float32)
    assert voxels_checksum(-zeros) == voxels_checksum(zeros)
