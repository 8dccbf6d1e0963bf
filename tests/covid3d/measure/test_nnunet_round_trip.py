"""Out to nnU-Net, back with its predictions, and into the report as the row `nnunet`."""

import shutil

import numpy as np
import pytest

from examples.covid3d.commands.cli import main
from examples.covid3d.common.files import read_csv, read_json, write_nifti
from examples.covid3d.run.context import Context
from examples.covid3d.run.pipeline import run_stages
from tests.covid3d.running import nnunet, small


@pytest.fixture(scope="module")
def folded(tmp_path_factory):
    """A finished run of two folds, exported."""
    folder = tmp_path_factory.mktemp("nnunet")
    config = small(data=str(nnunet(folder / "data", 8)), folds=2, methods=("equal",))
    run = run_stages(folder / "run", config)
    assert main(["export-nnunet", str(folder / "raw"), "--out", str(folder / "run")]) == 0
    return folder, run


def cases(folder):
    return {path.name.removesuffix(".nii.gz").removesuffix("_0000") for path in folder.iterdir()}


def test_each_fold_is_a_dataset_of_the_scans_that_do_not_test(folded):
    folder, run = folded
    names = [path.name for path in sorted((folder / "raw").iterdir())]
    assert names == ["Dataset501_fold1", "Dataset502_fold2"]
    for name, one in zip(names, Context(run, None).replicates(), strict=True):
        dataset = folder / "raw" / name
        assert cases(dataset / "imagesTs") == set(one.roles["test"])
        training = {*one.roles["teacher"], *one.roles["trusted"]}
        assert cases(dataset / "imagesTr") == cases(dataset / "labelsTr") == training
        splits = read_json(dataset / "splits_final.json")
        assert splits
        assert all({*split["train"], *split["val"]} == training for split in splits)


def test_predictions_that_are_the_truth_have_dice_1_in_the_report(folded, tmp_path, capsys):
    folder, run = folded
    out = tmp_path / "run"
    shutil.copytree(run.path, out)
    for fold in (1, 2):
        predicted = tmp_path / f"predicted{fold}"
        predicted.mkdir()
        for case in cases(folder / "raw" / f"Dataset50{fold}_fold{fold}" / "imagesTs"):
            shutil.copy(folder / "data" / "labelsTr" / f"{case}.nii.gz", predicted)
        status = main(["import-nnunet", str(predicted), "--fold", str(fold), "--out", str(out)])
        assert status == 0
    assert f"report --out {out}" in capsys.readouterr().out
    assert main(["report", "--out", str(out)]) == 0
    rows = [r for r in read_csv(out / "report" / "metrics.csv") if r["method"] == "nnunet"]
    assert len(rows) == len({row["scan"] for row in rows}) == 8
    assert all(float(row["dice"]) == 1 and float(row["hd_mm"]) == 0 for row in rows)
    assert "nnU-Net (Isensee et al.)" in (out / "report" / "report.html").read_text("utf-8")
    table = read_csv(out / "report" / "all_metrics.csv")
    assert any("nnU-Net" in row["Method"] for row in table)


def test_predictions_on_another_grid_or_missing_are_refused(folded, tmp_path, capsys):
    folder, run = folded
    tested = sorted(cases(folder / "raw" / "Dataset501_fold1" / "imagesTs"))
    for case in tested:
        write_nifti(tmp_path / f"{case}.nii.gz", np.zeros((20, 18, 16), np.uint8), np.eye(4))
    assert main(["import-nnunet", str(tmp_path), "--out", str(run.path)]) == 2
    assert "affine" in capsys.readouterr().err
    (tmp_path / f"{tested[0]}.nii.gz").unlink()
    assert main(["import-nnunet", str(tmp_path), "--out", str(run.path)]) == 2
    assert f"1 missing ({tested[0]})" in capsys.readouterr().err
    assert main(["import-nnunet", str(tmp_path), "--fold", "3", "--out", str(run.path)]) == 2
    assert "1 to 2" in capsys.readouterr().err
    assert main(["export-nnunet", str(folder / "raw"), "--out", str(run.path)]) == 2
    assert "Dataset501_fold1: exists" in capsys.readouterr().err
    assert not (run.path / "evaluate" / "seed0-fold1" / "nnunet").exists()
