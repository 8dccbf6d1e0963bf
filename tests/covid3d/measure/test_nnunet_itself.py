"""nnU-Net v2 itself: planned, trained and asked on an exported fold, and imported again."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from examples.covid3d.commands.cli import main
from examples.covid3d.common.files import read_csv
from examples.covid3d.run.pipeline import run_stages
from tests.covid3d.running import nnunet, small

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("nnunetv2") is None,
        reason="needs nnU-Net: pip install -c constraints.txt -r requirements/nnunet.txt",
    ),
]

PLANS = "tinyPlans"
# nnU-Net's own trainer, as its command runs it, for few steps. The command has no option for that,
# and where it looks for shorter trainers, it imports networks that need torchvision.
TRAIN = """
import sys
import torch
from batchgenerators.utilities.file_and_folder_operations import load_json
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
folder, plans = sys.argv[1:]
plans = load_json(f"{folder}/{plans}.json") | {"continue_training": False}
dataset = load_json(f"{folder}/dataset.json")
trainer = nnUNetTrainer(plans, "3d_fullres", 0, dataset, torch.device("cpu"))
trainer.num_epochs, trainer.num_iterations_per_epoch = 2, 100
trainer.num_val_iterations_per_epoch = 2
trainer.run_training()
trainer.perform_actual_validation()
"""


@pytest.fixture
def nnunetv2(tmp_path):
    """Runs a command of nnU-Net, or Python code, with folders of its own and few processes."""
    folders = {f"nnUNet_{name}": str(tmp_path / name) for name in ("preprocessed", "results")}
    env = os.environ | folders | {"nnUNet_raw": str(tmp_path / "raw"), "CUDA_VISIBLE_DEVICES": ""}
    env |= {"nnUNet_def_n_proc": "1", "nnUNet_compile": "f"}

    def run(name, *arguments):
        program = [Path(sys.executable).with_name(f"nnUNetv2_{name}")]
        if name == "train":
            program = [sys.executable, "-c", TRAIN]
        # 0: patches are drawn in the training's own process. The planner takes that for threads.
        processes = {"nnUNet_n_proc_DA": "0" if name == "train" else "1"}
        done = subprocess.run(
            [*map(str, program), *map(str, arguments)],
            env=env | processes, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]

    return run


def write_tiny_plans(preprocessed):
    """nnU-Net's own plan of this dataset, with fewer channels."""
    plans = json.loads((preprocessed / "nnUNetPlans.json").read_text())
    plans["plans_name"] = PLANS
    network = plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    network["features_per_stage"] = [4 * 2**level for level in range(network["n_stages"])]
    (preprocessed / f"{PLANS}.json").write_text(json.dumps(plans))


def test_it_trains_on_an_exported_fold_and_is_measured_as_a_row(tmp_path, nnunetv2):
    config = small(data=str(nnunet(tmp_path / "data", 12)), methods=("equal",))
    out, predicted = tmp_path / "run", tmp_path / "predicted"
    run_stages(out, config)
    assert main(["export-nnunet", str(tmp_path / "raw"), "--out", str(out)]) == 0
    raw = tmp_path / "raw" / "Dataset501_fold1"
    preprocessed = tmp_path / "preprocessed" / raw.name
    checked = ("--verify_dataset_integrity", "-np", 1, "-npfp", 1)
    nnunetv2("plan_and_preprocess", "-d", 501, "-c", "3d_fullres", *checked)
    write_tiny_plans(preprocessed)
    shutil.copy(raw / "splits_final.json", preprocessed)
    nnunetv2("train", preprocessed, PLANS)
    # It took the export's split for its own, which keeps patients apart, and drew none.
    first = json.loads((raw / "splits_final.json").read_text())[0]
    validated = (tmp_path / "results").rglob("validation/*.nii.gz")
    assert {path.name.removesuffix(".nii.gz") for path in validated} == set(first["val"])
    which = ("-d", 501, "-c", "3d_fullres", "-f", 0, "-p", PLANS)
    where = ("-i", raw / "imagesTs", "-o", predicted)
    nnunetv2("predict", *which, *where, "-device", "cpu", "-npp", 1, "-nps", 1)
    assert main(["import-nnunet", str(predicted), "--out", str(out)]) == 0
    assert main(["report", "--out", str(out)]) == 0
    verdict = (out / "report" / "verdict.txt").read_text(encoding="utf-8")
    assert "nnU-Net (Isensee et al.) is above Equal weights in Dice" in verdict
    rows = [r for r in read_csv(out / "report" / "metrics.csv") if r["method"] == "nnunet"]
    assert len(rows) == len(list(predicted.glob("*.nii.gz"))) >= 3
    # It has learnt what is bright, and its masks lie where the scans do.
    assert min(float(row["dice"]) for row in rows) > 0.8
