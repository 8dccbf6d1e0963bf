from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

from examples.covid3d.common.errors import UserError
from examples.covid3d.common.files import write_nifti
from examples.covid3d.measure.nnunet_bridge import (
    export_fold,
    import_predictions,
    splits_by_patient,
)
from examples.covid3d.scans.nifti import load_image

COS, SIN = np.cos(0.1), np.sin(0.1)
AFFINE = np.array(
    [[-0.8, 0, 0, 90], [0, 0.7 * COS, 2.5 * SIN, -80], [0, -0.7 * SIN, 2.5 * COS, 30], [0, 0, 0, 1]]
)
SHAPE = (6, 5, 4)


def hu(seed):
    return np.random.default_rng(seed).integers(-1000, 400, SHAPE).astype(np.int16)


def lesion(seed):
    return (np.random.default_rng(seed).random(SHAPE) < 0.3).astype(np.uint8)


@pytest.fixture
def fold(tmp_path):
    """Training scans a (.nii.gz) and b (.nii), and test scan t (an array)."""
    own = tmp_path / "own"
    write_nifti(own / "first.nii.gz", hu(0), AFFINE)
    write_nifti(own / "second.nii", hu(1), AFFINE)
    write_nifti(own / "first_mask.nii.gz", lesion(0), AFFINE)
    write_nifti(own / "second_mask.nii", lesion(1).astype(np.float32), AFFINE)
    return {
        "folder": tmp_path / "nnUNet_raw",
        "dataset_id": 7,
        "name": "Fold1",
        "training": [
            ("a", own / "first.nii.gz", own / "first_mask.nii.gz"),
            ("b", own / "second.nii", own / "second_mask.nii"),
        ],
        "test": [("t", (hu(2), AFFINE))],
        "splits": [(["a"], ["b"]), (["b"], ["a"])],
    }


def tree(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_layout_and_contents(fold):
    folder = export_fold(**fold)
    assert folder.name == "Dataset007_Fold1"
    assert tree(fold["folder"]) == sorted(
        f"Dataset007_Fold1/{name}"
        for name in (
            "dataset.json",
            "splits_final.json",
            "imagesTr/a_0000.nii.gz",
            "imagesTr/b_0000.nii.gz",
            "labelsTr/a.nii.gz",
            "labelsTr/b.nii.gz",
            "imagesTs/t_0000.nii.gz",
        )
    )
    assert json.loads((folder / "dataset.json").read_text()) == {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "lesion": 1},
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    assert json.loads((folder / "splits_final.json").read_text()) == [
        {"train": ["a"], "val": ["b"]},
        {"train": ["b"], "val": ["a"]},
    ]
    for seed, name in enumerate(["imagesTr/a_0000", "imagesTr/b_0000", "imagesTs/t_0000"]):
        image = nibabel.load(folder / f"{name}.nii.gz")
        np.testing.assert_array_equal(np.asarray(image.dataobj), hu(seed))
        np.testing.assert_allclose(image.affine, AFFINE, atol=1e-5)
    for seed, name in enumerate(["a", "b"]):
        mask = nibabel.load(folder / "labelsTr" / f"{name}.nii.gz")
        np.testing.assert_array_equal(np.asarray(mask.dataobj), lesion(seed))
        assert mask.get_data_dtype() == np.uint8


def test_files_are_linked_or_compressed_as_they_are(fold):
    first, second = (image for _, image, _ in fold["training"])
    before = first.stat()
    folder = export_fold(**fold)
    assert (folder / "imagesTr/a_0000.nii.gz").samefile(first)
    # Whatever tells that a scan changed by the state of its file must not be told so.
    assert (first.stat().st_ctime_ns, first.stat().st_nlink) == (
        before.st_ctime_ns,
        before.st_nlink,
    )
    packed = (folder / "imagesTr/b_0000.nii.gz").read_bytes()
    assert gzip.decompress(packed) == second.read_bytes()


def test_files_are_copied_where_they_cannot_be_linked(fold, monkeypatch):
    def refuse(*_):
        raise OSError

    monkeypatch.setattr(Path, "symlink_to", refuse)
    folder = export_fold(**fold)
    copied, source = folder / "imagesTr/a_0000.nii.gz", fold["training"][0][1]
    assert not copied.samefile(source)
    assert copied.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("odd", ["four axes", "affines at odds"])
def test_files_that_others_read_differently_are_written_anew(fold, odd):
    path = fold["training"][0][1]
    image = nibabel.Nifti1Image(hu(0)[..., None] if odd == "four axes" else hu(0), AFFINE)
    if odd == "affines at odds":
        image.set_qform(np.diag([1.0, 1, 1, 1]), code=1)
        image.set_sform(AFFINE, code=1)
    nibabel.save(image, path)
    written = nibabel.load(export_fold(**fold) / "imagesTr/a_0000.nii.gz")
    np.testing.assert_array_equal(np.asarray(written.dataobj), hu(0))
    np.testing.assert_allclose(written.affine, AFFINE, atol=1e-5)
    assert written.header["qform_code"] == 0


def test_foreground_labels_become_one_and_known_ones_zero(fold):
    labels = np.arange(np.prod(SHAPE)).reshape(SHAPE) % 4
    path = fold["training"][0][2]
    write_nifti(path, labels.astype(np.uint8), AFFINE)
    folder = export_fold(**fold, foreground=(1, 3), known=(2,))
    mask, _ = load_image(folder / "labelsTr/a.nii.gz")
    np.testing.assert_array_equal(mask, (labels == 1) | (labels == 3))


def test_round_trip_of_predictions(fold, tmp_path):
    folder = export_fold(**fold)
    predicted = tmp_path / "predicted"
    # What nnU-Net does: CASE_0000.nii.gz in, CASE.nii.gz and some JSON out.
    for image in (folder / "imagesTs").iterdir():
        _, grid = load_image(image)
        case = image.name.removesuffix("_0000.nii.gz")
        write_nifti(predicted / f"{case}.nii.gz", lesion(5), grid.affine)
    (predicted / "plans.json").write_text("{}")
    image = folder / "imagesTs/t_0000.nii.gz"
    grids = {"t": (image, load_image(image)[1])}
    found = import_predictions(predicted, ["t"], grids)
    assert found == {"t": predicted / "t.nii.gz"}
    np.testing.assert_array_equal(load_image(found["t"])[0], lesion(5))
    write_nifti(predicted / "t.nii.gz", lesion(5), np.diag([1.0, 1, 1, 1]))
    assert import_predictions(predicted, ["t"]) == found
    with pytest.raises(UserError, match="affine"):
        import_predictions(predicted, ["t"], grids)


def test_missing_and_extra_predictions_are_named(tmp_path):
    for case in ("a", "b", "x_0000"):
        write_nifti(tmp_path / f"{case}.nii.gz", lesion(0), AFFINE)
    with pytest.raises(UserError) as caught:
        import_predictions(tmp_path, ["a", "b", "c", "d"])
    assert "2 missing (c, d), 1 of other names (x_0000)" in str(caught.value)
    shutil.rmtree(tmp_path)
    with pytest.raises(UserError, match=r"1 missing \(a\)"):
        import_predictions(tmp_path, ["a"])


def refused(fold, *words):
    with pytest.raises(UserError) as caught:
        export_fold(**fold)
    for word in ("Expected:", "To mend it:", *words):
        assert word in str(caught.value)
    assert not fold["folder"].exists() or not any(fold["folder"].iterdir())


def test_errors_leave_nothing_behind(fold):
    first, image, mask = fold["training"][0]
    second = fold["training"][1]
    refused(fold | {"dataset_id": 1000}, "1000")
    refused(fold | {"name": "Fold 1"}, "Fold 1")
    refused(fold | {"training": [second, ("../a", image, mask)]}, "../a")
    refused(fold | {"training": [second, ("b", image, mask)]}, "b occurs twice")
    refused(fold | {"test": [("a", image)]}, "a occurs twice")
    refused(fold | {"training": [second, (first, image, None)]}, "no mask")
    refused(fold | {"training": []}, "no training case")
    refused(fold | {"training": [(first, image.with_name("gone.nii.gz"), mask)]}, "no such file")
    refused(fold | {"splits": [(["a"], ["t"])]}, "split 0", "t not among")
    refused(fold | {"splits": [(["a"], ["b"]), (["a", "b"], ["a"])]}, "split 1", "a on both")
    refused(fold | {"splits": [(["a", "b"], [])]}, "an empty side")


@pytest.mark.parametrize(
    ("voxels", "affine", "word"),
    [
        (lesion(0) * 2, AFFINE, "labels 2"),
        (lesion(0)[:-1], AFFINE, "shape (5, 5, 4)"),
        (lesion(0), AFFINE + 0.5 * np.outer(np.eye(4)[0], np.eye(4)[3]), "affine"),
    ],
)
def test_masks_that_do_not_fit_are_refused(fold, voxels, affine, word):
    path = fold["training"][1][2]
    write_nifti(path, voxels.astype(np.uint8), np.asarray(affine))
    refused(fold, str(path), word)


def test_a_dataset_is_never_overwritten(fold):
    folder = export_fold(**fold)
    before = tree(folder)
    with pytest.raises(UserError, match="exists"):
        export_fold(**fold | {"name": "Other"})
    assert tree(fold["folder"]) == [f"{folder.name}/{name}" for name in before]


def test_no_splits_no_file_and_another_channel(fold):
    folder = export_fold(**fold | {"splits": ()}, channel="MRI")
    assert not (folder / "splits_final.json").exists()
    assert json.loads((folder / "dataset.json").read_text())["channel_names"] == {"0": "MRI"}


def test_splits_are_by_patient_and_test_each_once():
    cases = [(f"scan{i}", f"p{i // 2}") for i in range(14)]
    splits = splits_by_patient(cases)
    assert len(splits) == 5
    patients = dict(cases)
    for train, val in splits:
        assert sorted([*train, *val]) == sorted(patients)
        assert not {patients[name] for name in train} & {patients[name] for name in val}
    assert sorted(name for _, val in splits for name in val) == sorted(patients)
    assert splits_by_patient(cases) == splits
    assert splits_by_patient(cases[:6], 2) != splits


def test_splits_of_few_patients_are_fewer_and_of_one_none():
    assert len(splits_by_patient([("a", "p"), ("b", "q"), ("c", "r")])) == 3
    assert splits_by_patient([("a", "p"), ("b", "p")]) == []
