"""What is wrong with most scans of a folder is an option's fault, and said once."""

import numpy as np
import pytest

from examples.covid3d.common.errors import UserError
from examples.covid3d.common.files import read_csv, write_nifti
from examples.covid3d.scans.cohort_checks import sample
from examples.covid3d.scans.manifest import read_manifest
from examples.covid3d.scans.prepare import prepare
from tests.covid3d.running import hide_masks, nnunet, small

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])
SHAPE = (20, 18, 16)


def run(tmp_path, data, **changes):
    folder = tmp_path / "run"
    folder.mkdir()
    prepare(small(data=str(data), **changes), folder, tmp_path / "none")
    kept = [entry.name for entry in read_manifest(folder)]
    return kept, {row["where"][-13:-7]: row["reason"] for row in read_csv(folder / "rejected.csv")}


def mr(data, *cases):
    for case in cases:
        image = np.random.default_rng(case).gamma(2, 200, SHAPE).astype(np.float32)
        write_nifti(data / "imagesTr" / f"case{case:02d}.nii.gz", image, AFFINE)
    return data


def test_a_sample_is_spread_evenly():
    assert sample("abc") == ["a", "b", "c"]
    assert sample(range(100), 3) == [0, 50, 99]


def test_a_folder_of_mr_is_one_error_that_says_zscore(tmp_path):
    data = mr(nnunet(tmp_path / "data", 5), 0, 1, 3)
    with pytest.raises(UserError, match="3 of 5 scans looked at cannot be CT") as caught:
        run(tmp_path, data)
    assert "--intensity zscore" in str(caught.value)
    assert "case00 has values from" in str(caught.value)
    assert not list((tmp_path / "run").iterdir())


def test_so_is_one_of_two_folders(tmp_path):
    data = nnunet(tmp_path / "data", 8)
    other = mr(hide_masks(nnunet(tmp_path / "other", 9), *(f"case0{i}" for i in range(9))), 8)
    for case in range(8):
        (other / "imagesTr" / f"case{case:02d}.nii.gz").unlink()
    with pytest.raises(UserError, match="1 of 1 scans looked at cannot be CT"):
        run(tmp_path, data, unlabelled=str(other))


def test_with_zscore_it_is_prepared(tmp_path):
    data = mr(nnunet(tmp_path / "data", 3), 0, 1, 2)
    assert run(tmp_path, data, intensity="zscore") == (["case00", "case01", "case02"], {})


def test_one_mr_among_ct_is_rejected_alone(tmp_path):
    kept, rejected = run(tmp_path, mr(nnunet(tmp_path / "data", 5), 2))
    assert len(kept) == 4
    assert list(rejected) == ["case02"]
    assert "--intensity zscore" in rejected["case02"]


@pytest.mark.parametrize(
    ("spacing", "words"),
    [((0.05, 0.05, 0.05), "800 x 720 x 960 voxels"), ((20.0, 20.0, 20.0), "2 x 2 x 2 voxels")],
)
def test_a_spacing_that_fits_no_scan_is_the_option_s_fault(tmp_path, spacing, words):
    data = nnunet(tmp_path / "data", 3)
    with pytest.raises(UserError, match="--spacing: 3 of 3 scans looked at") as caught:
        run(tmp_path, data, spacing=spacing)
    assert words in str(caught.value)


def test_a_scan_that_would_be_too_large_among_others_is_its_own(tmp_path):
    data = nnunet(tmp_path / "data", 3)
    wide = np.diag([40.0, 40.0, 40.0, 1.0])
    image = np.random.default_rng(9).normal(-800, 80, SHAPE)
    write_nifti(data / "imagesTr" / "case01.nii.gz", image.astype(np.int16), wide)
    kept, rejected = run(tmp_path, data, spacing=(0.5, 0.5, 1.0))
    assert kept == ["case00", "case02"]
    assert "1600 x 1440 x 640 voxels" in rejected["case01"]


@pytest.mark.parametrize("spacing", [(0.001, 1.0, 1.0), (1.0, 1000.0, 1.0)])
def test_a_spacing_of_no_scanner_is_refused_at_once(spacing):
    with pytest.raises(UserError, match=r"--spacing: .*\n.*from 0.01 to 50 mm"):
        small(spacing=spacing)


@pytest.mark.parametrize("intensity", ["ct", "window", "zscore"])
def test_a_constant_scan_and_a_full_mask_are_rejected(tmp_path, intensity):
    data = nnunet(tmp_path / "data", 4)
    flat = np.full(SHAPE, -1000, np.int16)
    write_nifti(data / "imagesTr" / "case01.nii.gz", flat, AFFINE)
    write_nifti(data / "labelsTr" / "case03.nii.gz", np.ones(SHAPE, np.uint8), AFFINE)
    kept, rejected = run(tmp_path, data, intensity=intensity)
    assert kept == ["case00", "case02"]
    assert "all voxels are -1000" in rejected["case01"]
    assert "covers the whole scan" in rejected["case03"]


def test_a_cohort_in_whose_masks_nothing_is_drawn_is_refused(tmp_path):
    data = nnunet(tmp_path / "data", 3)
    empty = np.zeros(SHAPE, np.uint8)
    for case in ("case00", "case02"):
        write_nifti(data / "labelsTr" / f"{case}.nii.gz", empty, AFFINE)
    assert len(run(tmp_path, data)[0]) == 3
    write_nifti(data / "labelsTr" / "case01.nii.gz", empty, AFFINE)
    (tmp_path / "run").rename(tmp_path / "before")
    with pytest.raises(UserError, match="no foreground in any of 3 masks"):
        run(tmp_path, data)
