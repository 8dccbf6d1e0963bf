"""How well cheaper scores agree: measured on tasks whose answer is known."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn

pytest.importorskip("nibabel")
pytest.importorskip("scipy")

import nibabel
import numpy as np

from benchmarks.agreement.__main__ import TASKS, main
from benchmarks.agreement.approximations import approximations
from benchmarks.agreement.hippocampus import hippocampus
from benchmarks.agreement.measure import measure
from benchmarks.agreement.report import plot, table
from benchmarks.agreement.task import Task, draws
from benchmarks.errors import UserError


def samples(count, seed):
    stream = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 6, generator=stream)
    return inputs, (inputs[:, 0] > 0).long()


def task(rate, trusted=32):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))
    return Task(
        "toy",
        model,
        nn.CrossEntropyLoss(reduction="none"),
        torch.optim.SGD(model.parameters(), lr=rate),
        draws(samples(64, 1), samples(trusted, 2), 8, 0),
    )


def test_what_approximates_little_agrees_and_chance_does_not():
    found = measure(task(0.1), 21, 1, progress=str)
    assert all(len(values) == 21 for values in found.values())
    mean = {name: float(np.nanmean(values)) for name, values in found.items()}
    assert mean["finite difference"] > 0.99
    assert mean["half the trusted batch"] > mean["another trusted batch"] > mean["random"]
    assert found["last half of the layers"] != found["last quarter of the layers"]


def test_an_old_gradient_of_the_same_batch_and_parameters_is_the_new_one():
    """Nothing moves, and there is but one pair of trusted batches to draw from: itself."""
    still = task(0.0)
    noisy, trusted, other = next(still.batches)
    still = Task(
        still.what, still.model, still.loss, still.optimizer, iter([(noisy, trusted, other)] * 9)
    )
    found = measure(still, 9, 1, progress=str)
    held = [name for name in found if "every" in name and "fast" not in name]
    assert len(held) == 4
    for name in held:
        assert found[name] == pytest.approx([1.0] * 9), name


def test_scores_that_are_all_equal_have_no_rank():
    silent = task(0.1)
    nn.init.zeros_(silent.model[2].weight)
    silent.model[2].weight.requires_grad_(False)
    found = measure(silent, 1, 1, progress=str)
    assert not math.isnan(found["finite difference"][0])
    with torch.no_grad():
        silent.model[2].bias.fill_(0.0)
    silent.model[2].bias.requires_grad_(False)
    found = measure(silent, 1, 1, progress=str)
    assert math.isnan(found["finite difference"][0])


def test_the_two_trusted_batches_share_no_sample():
    stream = draws(samples(8, 0), samples(16, 1), 8, 0)
    for _ in range(5):
        _, (one, _), (other, _) = next(stream)
        assert len(torch.cat([one, other]).unique(dim=0)) == 16
    with pytest.raises(ValueError, match="take 18 samples, not 16"):
        next(draws(samples(9, 0), samples(16, 1), 9, 0))


def made_up(values):
    return dict.fromkeys(approximations(), values)


def test_the_table():
    text = table({"a": [0.0, 0.5, 1.0, 0.5, math.nan, 1.0], "b": [math.nan] * 3})
    assert "| a | 0.60 | 0.50 to 1.00 | 0.25 | 0.75 | 1.00 |" in text
    assert "| b | none |" in text


def test_the_plot_holds_every_line():
    axes = plot(made_up([0.1, 0.2, math.nan, 0.4]), 5, "toy").axes[0]
    curves = [line for line in axes.get_lines() if len(line.get_xdata()) == 4]
    assert len(curves) == 6
    assert list(curves[0].get_xdata()) == [0, 5, 10, 15]


def volumes(folder, count):
    for kind in ("imagesTr", "labelsTr"):
        (folder / kind).mkdir(parents=True)
    generator = np.random.default_rng(0)
    for k in range(count):
        shape = (30, 40, 33)
        image = generator.normal(size=shape).astype(np.float32)
        mask = np.zeros(shape, dtype=np.uint8)
        mask[12:20, 15:25, 12:20] = 1 + k % 2
        for kind, values in (("imagesTr", image), ("labelsTr", mask)):
            nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), folder / kind / f"v{k:02d}.nii.gz")


def test_volumes_are_read_cropped_and_partly_misplaced(tmp_path):
    volumes(tmp_path, 64)
    made = hippocampus(tmp_path, 0)
    (inputs, labels), (trusted, truth), _ = next(made.batches)
    assert inputs.shape == trusted.shape == (8, 1, 32, 32, 32)
    assert labels.shape == (8, 32, 32, 32)
    assert set(labels.unique().tolist()) == {0, 1}
    assert len(truth.unique(dim=0)) == 1  # trusted outlines stay where they are
    assert len(labels.unique(dim=0)) > 1


def test_too_few_volumes(tmp_path, capsys):
    volumes(tmp_path, 3)
    with pytest.raises(UserError, match="found 3"):
        hippocampus(tmp_path, 0)
    assert main(["hippocampus", "--data", str(tmp_path)]) == 2
    assert "must hold 64 volumes" in capsys.readouterr().err


def test_a_damaged_volume(tmp_path):
    volumes(tmp_path, 64)
    (tmp_path / "imagesTr" / "v07.nii.gz").write_bytes(b"not a volume")
    with pytest.raises(UserError, match=r"v07\.nii\.gz cannot be read"):
        hippocampus(tmp_path, 0)


def test_the_command_writes_numbers_a_table_and_a_plot(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(
        TASKS,
        "fashion",
        lambda *_: task(0.1),
    )
    output = tmp_path / "out"
    words = ["fashion", "--data", "x", "--steps", "6", "--every", "3", "--output", str(output)]
    assert main(words) == 0
    assert sorted(path.name for path in output.iterdir()) == [
        "fashion.json",
        "fashion.md",
        "fashion.png",
    ]
    result = json.loads((output / "fashion.json").read_text(encoding="utf-8"))
    assert set(result["rank_correlation"]) == set(approximations())
    assert "| finite difference |" in capsys.readouterr().out


@pytest.mark.parametrize("every", ["4", "0", "x"])
def test_an_interval_that_would_meet_only_fresh_gradients(every, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["fashion", "--data", "x", "--every", every])
    assert stop.value.code == 2
    assert "--every" in capsys.readouterr().err
