"""A mask as DICOM SEG: read back plane by plane, it is the same mask in the same place."""

import importlib.util

import nibabel
import numpy as np
import pytest

from examples.covid3d.commands.cli import main
from examples.covid3d.common.errors import UserError
from examples.covid3d.scans import dicom_seg
from examples.covid3d.scans.dicom import find_series, list_series
from examples.covid3d.scans.dicom_seg import write_dicom_seg
from tests.covid3d.scans.readers.dicom_files import chest, write_series
from tests.covid3d.scans.readers.multiframe_files import write_multiframe

needs_highdicom = pytest.mark.skipif(
    importlib.util.find_spec("highdicom") is None,
    reason='DICOM SEG needs highdicom: pip install "highdicom>=0.28"',
)
TILTED = nibabel.affines.from_matvec(nibabel.eulerangles.euler2mat(0.05, 0.1, 0.02)) @ np.diag(
    [-0.8, -0.7, 2.5, 1.0]
)
SHAPE = (6, 5, 10)


def read_back(path, shape, affine):
    """The mask on a grid, each frame put where its own position says, and nothing else assumed."""
    import pydicom

    seg = pydicom.dcmread(path)
    frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    shared = seg.SharedFunctionalGroupsSequence[0]
    lps_of = np.linalg.inv(np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)
    found = np.zeros(shape, np.uint8)
    for frame, own in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        position = np.array(own.PlanePositionSequence[0].ImagePositionPatient, float)
        along = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(
            2, 3
        )
        rows, columns = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
        for r, c in np.argwhere(frame):
            world = position + c * columns * along[0] + r * rows * along[1]
            index = lps_of @ np.append(world, 1)
            np.testing.assert_allclose(index[:3], np.rint(index[:3]), atol=0.02)
            found[tuple(np.rint(index[:3]).astype(int))] = 1
    return seg, found


@needs_highdicom
@pytest.mark.parametrize(
    "affine", [np.diag([-0.8, -0.7, 2.5, 1.0]), TILTED], ids=["axial", "tilted"]
)
@pytest.mark.parametrize("empty", [False, True])
def test_it_reads_back_as_the_same_mask_in_the_same_place(tmp_path, affine, empty):
    write_series(tmp_path / "scan", chest(), affine)
    series = find_series(tmp_path / "scan", "1.2.3")
    mask = (np.random.default_rng(0).random(SHAPE) < 0.2).astype(np.uint8)
    mask[:, :, [0, 4, 5]] = 0
    mask *= not empty
    write_dicom_seg(tmp_path / "seg.dcm", mask, series, "rgsm-al")
    seg, found = read_back(tmp_path / "seg.dcm", SHAPE, series.grid.affine)
    np.testing.assert_array_equal(found, mask)
    assert (seg.Modality, seg.PatientID, seg.StudyInstanceUID) == ("SEG", "P1", "1.2")
    referenced = seg.ReferencedSeriesSequence[0]
    assert referenced.SeriesInstanceUID == "1.2.3"
    assert len(referenced.ReferencedInstanceSequence) == SHAPE[2]
    assert seg.SeriesInstanceUID != "1.2.3"
    assert not list(tmp_path.glob(".partial-*"))


@needs_highdicom
def test_of_an_enhanced_file_whose_frames_are_in_any_order(tmp_path):
    order = np.random.default_rng(1).permutation(SHAPE[2])
    volume, positions = chest()[:, :, order], [(-5.0, 7.0, -100.0 + 2.5 * k) for k in order]
    write_multiframe(tmp_path / "scan" / "a.dcm", volume, positions)
    (uid,) = list_series([tmp_path / "scan" / "a.dcm"])[0]
    series = find_series(tmp_path / "scan", uid)
    mask = (np.random.default_rng(0).random(series.grid.shape) < 0.2).astype(np.uint8)
    write_dicom_seg(tmp_path / "seg.dcm", mask, series, "rgsm-al")
    _, found = read_back(tmp_path / "seg.dcm", mask.shape, series.grid.affine)
    np.testing.assert_array_equal(found, mask)


@needs_highdicom
def test_predict_writes_one_beside_the_mask_of_each_series(finished, tmp_path):
    volume = np.pad(chest(12, 40, 36), 2, constant_values=-1000)
    write_series(tmp_path / "in" / "anna", volume, np.diag([-6.0, -6.0, 8.0, 1.0]))
    where = ["--out", str(finished[0]), "--masks", str(tmp_path / "masks"), "--method", "equal"]
    assert main(["predict", str(tmp_path / "in"), *where, "--dicom-seg"]) == 0
    (mask,) = (tmp_path / "masks" / "equal").glob("*.nii.gz")
    (seg,) = (tmp_path / "masks" / "equal" / "dicom-seg").iterdir()
    image = nibabel.load(mask)
    _, found = read_back(seg, image.shape, image.affine)
    np.testing.assert_array_equal(found, np.asarray(image.dataobj))


def test_without_highdicom_it_is_said_what_to_install(monkeypatch):
    def refuse(name):
        raise ImportError(name)

    monkeypatch.setattr(dicom_seg.importlib, "import_module", refuse)
    with pytest.raises(UserError, match="pip install"):
        dicom_seg.highdicom()
