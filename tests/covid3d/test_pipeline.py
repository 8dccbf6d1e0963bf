import dataclasses
import json
import re

import nibabel
import numpy as np
import pytest
import torch

from examples.covid3d import stages, training
from examples.covid3d.config import STAGES
from examples.covid3d.errors import UserError
from examples.covid3d.files import read_csv
from examples.covid3d.pipeline import run_stages
from examples.covid3d.prepare import load_expert_mask, load_sources


@pytest.fixture(scope="module")
def masks_opened():
    """Names of the scans whose expert mask a training stage opened."""
    return set()


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_config, masks_opened):
    """A complete tiny run, made once."""

    def load(folder, name):
        masks_opened.add(name)
        return load_expert_mask(folder, name)

    out = tmp_path_factory.mktemp("run")
    config = dataclasses.replace(tiny_config, methods=("equal", "random", "rgsm_al"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stages, "load_expert_mask", load)
        run_stages(out, config)
    return out, config


def weights(out, *where):
    return torch.load(out.joinpath(*where) / "weights.pt", weights_only=True)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_every_stage_leaves_its_outputs(finished):
    out, config = finished
    assert {path.name for path in out.iterdir()} == {*STAGES, "config.json"}
    for method in config.methods:
        rows = read_csv(out / "student" / method / "steps.csv")
        assert len(rows) == config.student_steps
        curve = read_csv(out / "student" / method / "curve.csv")
        assert [int(row["step"]) for row in curve] == [2, 4]
        assert not (out / "student" / method / "checkpoint.pt").exists()


def test_metrics_have_a_row_for_each_method_and_test_scan(finished):
    out, config = finished
    rows = read_csv(out / "report" / "metrics.csv")
    assert len(rows) == (1 + len(config.methods)) * config.phantoms[3]
    assert all(0 <= float(row["dice"]) <= 1 for row in rows)
    assert all(np.isfinite(float(row["hd_mm"])) for row in rows)


def test_predictions_are_on_the_grid_of_the_scan(finished):
    out, _ = finished
    for source in load_sources(out / "prepare", "test"):
        scan = nibabel.load(source.image)
        predicted = nibabel.load(
            out / "evaluate" / "predictions" / "rgsm_al" / f"{source.name}.nii.gz"
        )
        assert predicted.shape == scan.shape
        np.testing.assert_allclose(predicted.affine, scan.affine, atol=1e-4)


def test_weights_are_logged_for_every_sample(finished):
    out, config = finished
    samples = read_csv(out / "student" / "rgsm_al" / "samples.csv")
    assert len(samples) == config.student_steps * config.batch_size
    for key in ("weight", "loss", "gradient_similarity", "last_layer_gradient", "scan"):
        assert samples[0][key] != ""
    steps = read_csv(out / "student" / "rgsm_al" / "steps.csv")
    for step in steps:
        own = [float(row["weight"]) for row in samples if row["step"] == step["step"]]
        assert int(step["kept"]) == sum(weight > 0 for weight in own)


def test_masks_of_unlabelled_scans_lie_apart_and_no_training_opens_them(finished, masks_opened):
    prepared = finished[0] / "prepare"
    names = {source.name for source in load_sources(prepared, "unlabelled")}
    assert names
    for name in names:
        assert (prepared / "truth" / f"{name}.npz").exists()
        assert not (prepared / "masks" / f"{name}.npz").exists()
    # The pseudo-labels are judged only in the evaluation, which does not go through `stages`.
    assert masks_opened
    assert not names & masks_opened


@pytest.mark.parametrize(
    ("title", "at"),
    [("teacher", 3), ("student, RGS&M+AL", 3), ("student, Random weights", 1)],
)
def test_interrupted_and_resumed_is_bit_for_bit_uninterrupted(
    finished, tmp_path, monkeypatch, title, at
):
    out, config = finished
    original = training.train

    def interrupted(model, objective, validate, **rest):
        def stop(step):
            if rest["title"] == title and step == at:
                raise KeyboardInterrupt
            return objective(step)

        original(model, stop, validate, **rest)

    with monkeypatch.context() as patched:
        patched.setattr(stages, "train", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_stages(tmp_path, config, STAGES[:4])
    stage = title.split(",")[0]
    assert (tmp_path / f"{stage}.partial").exists()
    assert not (tmp_path / stage).exists()
    assert bool(list(tmp_path.rglob("checkpoint.pt"))) == (at > config.checkpoint_every)
    run_stages(tmp_path, config, STAGES[:4])
    for where in [("teacher",), *(("student", method) for method in config.methods)]:
        assert same(weights(out, *where), weights(tmp_path, *where))
        for log in ("steps.csv", "samples.csv", "curve.csv"):
            ours, theirs = (root.joinpath(*where) / log for root in (tmp_path, out))
            assert ours.read_text() == theirs.read_text()


def test_every_student_sees_the_same_batches(finished):
    drawn = [
        [
            [row[key] for key in ("step", "scan", "x", "y", "z")]
            for row in read_csv(finished[0] / "student" / method / "samples.csv")
        ]
        for method in ("random", "rgsm_al")
    ]
    assert drawn[0] == drawn[1]
    assert drawn[0]


def test_complete_stages_are_not_touched_again(finished):
    out, config = finished
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    run_stages(out, config)
    after = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    before.pop(out / "config.json")
    after.pop(out / "config.json")
    assert before == after


def test_steps_that_keep_nothing_move_nothing(tiny, tmp_path):
    model = torch.nn.Linear(2, 1)
    before = {key: value.clone() for key, value in model.state_dict().items()}

    def objective(step):
        return training.Outcome((model(torch.ones(1, 2)) * 0).sum(), update=step == 99)

    training.train(
        model, objective, lambda: 0.0, config=tiny, steps=3, folder=tmp_path, title="nothing"
    )
    assert same(before, model.state_dict())


def test_a_diverging_training_says_so(tiny, tmp_path):
    model = torch.nn.Linear(2, 1)

    def objective(_):
        return training.Outcome(model(torch.full((1, 2), torch.inf)).sum())

    with pytest.raises(UserError, match="lower --learning-rate"):
        training.train(
            model, objective, lambda: 0.0, config=tiny, steps=3, folder=tmp_path, title="x"
        )


class TestReport:
    def test_is_one_file_that_needs_nothing_else(self, finished):
        out, _ = finished
        text = (out / "report" / "report.html").read_text(encoding="utf-8")
        assert text.startswith("<!DOCTYPE html>")
        assert "<script" not in text
        sources = re.findall(r'(?:src|href)="([^"]{0,30})', text)
        assert len(sources) >= 3
        assert all(source.startswith("data:image/png;base64,") for source in sources)
        assert not re.search(r"url\(|@import|https?://", text)

    def test_parses_with_every_tag_closed(self, finished):
        from html.parser import HTMLParser

        class Balance(HTMLParser):
            def __init__(self):
                super().__init__()
                self.open = []

            def handle_starttag(self, tag, _):
                if tag not in ("meta", "img"):
                    self.open.append(tag)

            def handle_endtag(self, tag):
                assert self.open.pop() == tag

        parser = Balance()
        parser.feed((finished[0] / "report" / "report.html").read_text(encoding="utf-8"))
        assert parser.open == []

    def test_says_what_it_is(self, finished):
        text = (finished[0] / "report" / "report.html").read_text(encoding="utf-8")
        for word in ("Teacher", "Equal weights", "RGS&amp;M+AL", "HD95", "Missed", "not evidence"):
            assert word in text
        assert "Seed 0" in text
        assert "Every student starts from the teacher's weights" in text.replace("&#x27;", "'")
        assert torch.__version__.split("+")[0] in text

    def test_pictures_are_there(self, finished):
        for name in ("overlay.png", "curves.png"):
            data = (finished[0] / "report" / name).read_bytes()
            assert data.startswith(b"\x89PNG")

    def test_settings_are_kept(self, finished):
        out, config = finished
        kept = json.loads((out / "config.json").read_text())
        assert kept["seed"] == config.seed
