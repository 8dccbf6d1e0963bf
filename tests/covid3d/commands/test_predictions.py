"""What `predict` leaves: a folder for each method, with a table that says what can be relied on."""

import shutil

import nibabel
import numpy as np
import pytest

from examples.covid3d.commands.cli import main
from examples.covid3d.common.files import read_csv, write_nifti
from examples.covid3d.run.context import Context
from examples.covid3d.run.run_folder import RunFolder
from examples.covid3d.scans.manifest import read_manifest
from examples.covid3d.scans.nifti import load_image


@pytest.fixture
def new(finished, tmp_path):
    """A folder of two scans: one that trained under another name and place, and a new one."""
    out, config = finished
    (one, *_) = Context(RunFolder(out, config), None).replicates()
    entries = {entry.name: entry for entry in read_manifest(out / "prepare")}
    scan = entries[one.roles["trusted"][0]].scan(out / "prepare")
    volume, grid = load_image(scan.image)
    moved = grid.affine.copy()
    moved[:3, 3] += 7
    write_nifti(tmp_path / "new" / "=1+1" / "=1+1.nii.gz", volume.astype(np.int16), moved)
    volume[0, 0, 0] += 1
    write_nifti(tmp_path / "new" / "other" / "other.nii.gz", volume.astype(np.int16), grid.affine)
    return tmp_path / "new", scan.name


def segment(new, out, masks, *more, method="equal"):
    given = ["--out", str(out), "--masks", str(masks), "--method", method]
    return main(["predict", str(new), *given, *more])


def test_a_folder_for_each_method_with_masks_pictures_and_a_table(finished, new, tmp_path):
    masks = tmp_path / "masks"
    for method in ("equal", "random"):
        assert segment(new[0], finished[0], masks, method=method) == 0
    assert sorted(path.name for path in masks.iterdir()) == ["equal", "random"]
    rows = read_csv(masks / "equal" / "predictions.csv")
    assert list(rows[0])[:6] == ["scan", "patient", "method", "status", "reason", "volume_ml"]
    names = [row["scan"] for row in rows]
    assert len(names) == 2
    for row in rows:
        mask = nibabel.load(masks / "equal" / f"{row['scan']}.nii.gz")
        voxels = int(np.asarray(mask.dataobj).sum())
        ml = voxels * abs(np.linalg.det(mask.affine[:3, :3])) / 1000
        assert int(row["lesion_voxels"]) == voxels
        assert float(row["volume_ml"]) == pytest.approx(ml, rel=1e-4)
        assert (row["status"], row["method"]) == ("segmented", "equal")
        assert (masks / "equal" / "previews" / f"{row['scan']}.png").stat().st_size > 1000
    assert not (masks / "equal" / "probabilities").exists()


def test_probabilities_are_added_to_what_is_there_and_are_those_of_the_mask(
    finished, new, tmp_path
):
    masks = tmp_path / "masks"
    assert segment(new[0], finished[0], masks) == 0
    paths = sorted((masks / "equal").glob("*.nii.gz"))
    before = [path.stat().st_mtime_ns for path in paths]
    assert segment(new[0], finished[0], masks, "--probabilities") == 0
    assert [path.stat().st_mtime_ns for path in paths] == before
    for path in paths:
        mask = nibabel.load(path)
        probability = nibabel.load(path.parent / "probabilities" / path.name)
        np.testing.assert_array_equal(probability.affine, mask.affine)
        np.testing.assert_array_equal(
            np.asarray(probability.dataobj) > 0.5, np.asarray(mask.dataobj) == 1
        )


def test_a_scan_that_was_trained_on_is_said_whatever_its_name_and_place(
    finished, new, tmp_path, capsys
):
    # The second time nothing is segmented, and it is said all the same.
    for _ in range(2):
        assert segment(new[0], finished[0], tmp_path / "masks") == 0
        said = capsys.readouterr().err
        assert "1 of 2 scans took part in the training of these networks" in said
    rows = {row["trained_on"] for row in read_csv(tmp_path / "masks" / "equal" / "predictions.csv")}
    assert rows == {"", f"{new[1]} (trusted)"}
    # The teacher did not see it.
    assert segment(new[0], finished[0], tmp_path / "masks", method="supervised") == 0
    assert "took part" not in capsys.readouterr().err


def test_where_the_run_s_scans_are_gone_it_says_that_it_cannot_tell(
    finished, new, tmp_path, capsys
):
    out = tmp_path / "run"
    shutil.copytree(finished[0], out, ignore=shutil.ignore_patterns("prepare"))
    assert segment(new[0], out, tmp_path / "masks") == 0
    assert "cannot be told" in capsys.readouterr().err


def test_what_is_skipped_is_listed_and_is_the_exit_status(finished, new, tmp_path, capsys):
    bad = new[0] / "bad" / "bad.nii.gz"
    bad.parent.mkdir()
    bad.write_bytes(b"nothing")
    assert segment(new[0], finished[0], tmp_path / "masks") == 1
    said = capsys.readouterr()
    assert "2 masks" in said.out
    assert "Skipped 1:" in said.err
    rows = read_csv(tmp_path / "masks" / "equal" / "predictions.csv")
    (skipped,) = [row for row in rows if row["status"] == "skipped"]
    assert "bad" in skipped["scan"]
    assert skipped["reason"]
    assert len(rows) == 3


def test_a_file_that_the_layout_has_no_place_for_is_not_left_out_in_silence(
    finished, new, tmp_path, capsys
):
    (scan,) = (new[0] / "other").iterdir()
    folder = tmp_path / "challenge"
    folder.mkdir()
    for name in ("a_ct.nii.gz", "a_seg.nii.gz", "b.nii.gz"):
        shutil.copy(scan, folder / name)
    assert segment(folder, finished[0], tmp_path / "masks") == 1
    said = capsys.readouterr().err
    assert f"Skipped 1:\n  {folder / 'b.nii.gz'}: no scan by the layout 'challenge'" in said
    # A table names its scans.
    table = folder / "scans.csv"
    table.write_text("image,label,patient,source\na_ct.nii.gz,,,\n", encoding="utf-8")
    assert segment(table, finished[0], tmp_path / "of the table") == 0


def test_dicom_seg_of_scans_that_are_no_dicom_is_refused(finished, new, tmp_path, capsys):
    assert segment(new[0], finished[0], tmp_path / "masks", "--dicom-seg") == 2
    said = capsys.readouterr().err
    assert "--dicom-seg" in said
    assert not list((tmp_path / "masks").rglob("*.nii.gz"))


def test_masks_among_the_scans_are_refused(finished, new, capsys):
    assert segment(new[0], finished[0], new[0] / "other") == 2
    assert "lies in the scans" in capsys.readouterr().err
