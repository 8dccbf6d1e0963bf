"""What a whole run leaves, and which units another run redoes."""

import dataclasses
import json

import nibabel
import numpy as np
import pytest
import torch

from examples.covid3d.common.config import STAGES
from examples.covid3d.common.errors import UserError
from examples.covid3d.common.files import read_csv
from examples.covid3d.measure.evaluate import entries_of
from examples.covid3d.measure.metrics import dice
from examples.covid3d.measure.report.provenance import comparison
from examples.covid3d.run import stages
from examples.covid3d.run.context import Context
from examples.covid3d.run.pipeline import run_stages
from examples.covid3d.run.presets import PRESETS
from examples.covid3d.train.network import initial_network
from tests.covid3d.running import files_of, nnunet, same, small, weights_in

CPU = torch.device("cpu")
UNIT = "seed0-fold1"


def test_every_stage_leaves_its_outputs(finished):
    out, config = finished
    assert {path.name for path in out.iterdir()} == {*STAGES, "config.json", ".lock"}
    for method in ("equal", "random", "rgsm-al"):
        folder = out / "student" / UNIT / method
        assert len(read_csv(folder / "steps.csv")) == config.student_steps
        assert [int(row["step"]) for row in read_csv(folder / "curve.csv")] == [2, 4]
        assert {"weights.pt", "last.pt", "best.pt", "timing.json"} <= set(files_of(folder))
    assert not (out / "student" / UNIT / "supervised").exists()
    assert {path.name for path in (out / "evaluate" / UNIT).iterdir()} == set(config.methods)
    assert json.loads((out / "config.json").read_text())["seeds"] == [0]
    assert not list(out.rglob("*.partial"))
    assert [path.name for path in out.rglob(".*")] == [".lock"]


def test_metrics_have_a_line_for_each_method_and_test_scan(finished):
    out, config = finished
    rows = read_csv(out / "report" / "metrics.csv")
    assert len(rows) == len(config.methods) * config.phantoms[3]
    keys = "seed fold method scan patient source dice hd_mm hd95_mm nsd missed false_alarm"
    assert list(rows[0]) == [*keys.split(), "expert_ml", "predicted_ml"]
    for row in rows:
        assert (row["seed"], row["fold"]) == ("0", "1")
        assert 0 <= float(row["dice"]) <= 1
        assert 0 <= float(row["nsd"]) <= 1
        assert np.isfinite(float(row["hd_mm"]))
        assert row["missed"] in "01"
    training = read_csv(out / "report" / "training.csv")
    assert [row["method"] for row in training] == list(config.methods)
    assert all(float(row["seconds"]) > 0 and row["steps"] == "4" for row in training)


def test_predictions_are_on_the_grid_of_the_scan_and_measured_there(finished):
    out, config = finished
    context = Context(run_stages(out, config, []), CPU)
    (replicate,) = context.replicates()
    rows = {(r["method"], r["scan"]): r for r in read_csv(out / "report" / "metrics.csv")}
    for entry in entries_of(context, replicate.roles["test"]):
        scan = entry.scan(context.prepared)
        path = out / "evaluate" / UNIT / "rgsm-al" / "predictions" / f"{entry.name}.nii.gz"
        image, predicted = nibabel.load(scan.image), nibabel.load(path)
        assert predicted.shape == image.shape
        np.testing.assert_allclose(predicted.affine, image.affine, atol=1e-4)
        a, b = (np.asarray(nibabel.load(p).dataobj) for p in (path, scan.mask))
        row = rows["rgsm-al", entry.name]
        assert float(row["dice"]) == pytest.approx(dice(a, b))
        voxel = abs(np.linalg.det(image.affine[:3, :3])) / 1000
        assert float(row["expert_ml"]) == pytest.approx(b.sum() * voxel)
        assert float(row["predicted_ml"]) == pytest.approx(a.sum() * voxel)


def test_weights_are_logged_for_every_sample_beside_the_truth(finished):
    out, config = finished
    samples = read_csv(out / "evaluate" / UNIT / "rgsm-al" / "samples.csv")
    assert len(samples) == config.student_steps * config.batch_size
    for key in ("weight", "loss", "gradient_similarity", "last_layer_gradient", "scan", "seed"):
        assert samples[0][key] != ""
    assert all(0 <= float(row["pseudo_dice"]) <= 1 for row in samples)
    for step in read_csv(out / "student" / UNIT / "rgsm-al" / "steps.csv"):
        own = [float(row["weight"]) for row in samples if row["step"] == step["step"]]
        assert float(step["kept"]) == sum(weight > 0 for weight in own)
        assert float(step["share_kept"]) == float(step["kept"]) / config.batch_size


def test_complete_units_are_not_touched_again(finished):
    out, config = finished
    before = files_of(out)
    run_stages(out, config, STAGES[:-1])
    after = files_of(out)
    for name in ("config.json", ".lock"):
        before.pop(name)
        after.pop(name)
    assert before == after


def test_a_further_seed_and_row_add_units_and_redo_none(tmp_path):
    config = small(data=str(nnunet(tmp_path / "data", 8)))
    run_stages(tmp_path / "run", config)
    before = files_of(tmp_path / "run" / "student")
    more = dataclasses.replace(config, seeds=(0, 1), methods=("supervised", "equal", "random"))
    run_stages(tmp_path / "run", more)
    after = files_of(tmp_path / "run" / "student")
    assert {name: after[name] for name in before} == before
    units = {"/".join(name.split("/")[:2]) for name in after}
    assert units == {f"seed{s}-fold1/{m}" for s in (0, 1) for m in ("equal", "random")}
    rows = read_csv(tmp_path / "run" / "report" / "metrics.csv")
    assert {(row["seed"], row["method"]) for row in rows} == {
        (s, m) for s in "01" for m in ("supervised", "equal", "random")
    }


@pytest.fixture(scope="module")
def folded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("folded")
    config = small(
        data=str(nnunet(folder / "data", 9)),
        shares=(3, 2, 1, 3),
        folds=3,
        teacher_once=True,
        keep="best",
        validate_every=1,
    )
    return Context(run_stages(folder / "run", config), CPU)


class TestFolds:
    def test_every_patient_but_the_teacher_s_is_tested_once(self, folded):
        rows = read_csv(folded.run.path / "report" / "metrics.csv")
        tested = [row["scan"] for row in rows if row["method"] == "equal"]
        assert len(tested) == len(set(tested)) == 6
        assert {row["fold"] for row in rows} == {"1", "2", "3"}
        assert not set(tested) & set(folded.replicates()[0].roles["teacher"])

    def test_one_teacher_labels_what_any_fold_leaves_unlabelled(self, folded):
        path = folded.run.path
        assert [p.name for p in (path / "teacher").iterdir()] == ["seed0"]
        labelled = {p.name for p in (path / "pseudo-label" / "seed0").iterdir() if p.is_dir()}
        assert labelled == {n for one in folded.replicates() for n in one.roles["unlabelled"]}

    @pytest.mark.parametrize("shared", [True, False])
    def test_no_scan_that_is_tested_chooses_a_teacher_s_checkpoint(
        self, folded, monkeypatch, tmp_path, shared
    ):
        kept = []
        monkeypatch.setattr(stages, "train", lambda *_, **rest: kept.append(rest["config"].keep))
        config = dataclasses.replace(folded.config, teacher_once=shared)
        context = Context(dataclasses.replace(folded.run, config=config), CPU)
        for one in context.replicates():
            stages.train_teacher(context, one, tmp_path)
        assert kept == ["last" if shared else "best"] * 3


@pytest.mark.parametrize("start", ["teacher", "scratch"])
def test_students_start_where_told(taught, monkeypatch, tmp_path, start):
    config = dataclasses.replace(
        taught.config, student_start=start, methods=("equal", "random", "rgsm-al")
    )
    context = Context(dataclasses.replace(taught.run, config=config), CPU)
    (replicate,) = context.replicates()
    expected = {
        "teacher": weights_in(taught.run.path / "teacher" / "seed0"),
        "scratch": initial_network(0, CPU, config.channels).state_dict(),
    }
    assert not same(expected["teacher"], expected["scratch"])
    starts = []

    def note(model, *_, **__):
        starts.append({key: value.clone() for key, value in model.state_dict().items()})

    monkeypatch.setattr(stages, "train", note)
    for method in config.methods:
        stages.train_student(context, replicate, method, tmp_path)
    assert len(starts) == len(config.methods)
    assert all(same(state, expected[start]) for state in starts)


def test_the_report_says_how_the_settings_of_the_demo_were_chosen():
    demo = PRESETS["demo"]
    for methods in (demo.methods, ("equal",)):
        assert "chosen on phantoms of other seeds" in comparison(
            dataclasses.replace(demo, methods=methods)
        )
    assert "chosen" not in comparison(dataclasses.replace(demo, seeds=(1,)))
    assert "chosen" not in comparison(PRESETS["small"])


def test_a_row_that_is_not_trained_is_not_trained(taught, tmp_path):
    with pytest.raises(ValueError, match="supervised is not trained"):
        stages.train_student(taught, taught.replicates()[0], "supervised", tmp_path)


def test_a_teacher_from_nowhere_is_refused(tmp_path, tiny):
    config = dataclasses.replace(tiny, teacher_from=str(tmp_path / "gone"))
    with pytest.raises(UserError, match="no trained teacher"):
        run_stages(tmp_path / "run", config)
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize("methods", [("equal", "magic"), ()])
def test_unknown_methods_are_refused_before_the_settings_are_kept(tmp_path, tiny, methods):
    with pytest.raises(UserError, match=methods[-1] if methods else "none"):
        run_stages(tmp_path / "run", dataclasses.replace(tiny, methods=methods))
    assert not (tmp_path / "run").exists()
