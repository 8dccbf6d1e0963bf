"""What a step says of itself goes into each logger as it is, in one line."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from reweight import MetaReweighter, as_scorer


class Odd:
    """A scorer whose name no logger takes."""

    name = "β², <of mine>/2"

    def __call__(self, context):
        return context.losses


def steps():
    """Steps of scorers with and without a name that loggers take, and one of no sample at all."""
    torch.manual_seed(0)
    model, loss = nn.Linear(4, 3), nn.CrossEntropyLoss(reduction="none")
    batch = torch.randn(8, 4), torch.arange(8) % 3
    broken = torch.full((8, 4), math.nan), batch[1]
    found = [
        MetaReweighter(model, loss, scorer=scorer)(batch, batch)
        for scorer in (None, lambda context: context.losses, Odd())
    ]
    return [*found, MetaReweighter(model, loss, on_nonfinite="drop")(broken, batch)]


def assert_told(found: dict[str, float], summary: dict[str, float], rel: float = 1e-12) -> None:
    assert summary
    assert all(type(value) is float for value in summary.values())
    assert {name: found[name] for name in summary} == pytest.approx(summary, rel=rel, nan_ok=True)


def test_names_are_of_letters_that_every_logger_takes():
    by_default, unnamed, odd, nothing = (step.summary("") for step in steps())
    assert "score/gradient_similarity/mean" in by_default
    assert "score/lambda/mean" in unnamed
    assert "score/of_mine_2/negative" in odd
    assert math.isnan(nothing["noisy_loss"])


def test_two_scorers_never_have_one_name():
    scorers = [lambda c: c.losses, lambda c: 2 * c.losses, Odd()]
    scorers[2].name = "lambda"
    batch = torch.randn(4, 2), torch.arange(4) % 2
    three = as_scorer(scorers[0]) + as_scorer(scorers[1]) + as_scorer(scorers[2])
    step = MetaReweighter(nn.Linear(2, 2), nn.CrossEntropyLoss(reduction="none"), scorer=three)
    found = step(batch).summary("")
    assert [name for name in found if name.endswith("/mean")] == [
        "score/lambda/mean",
        "score/lambda_2/mean",
        "score/lambda_3/mean",
    ]
    assert found["score/lambda_2/mean"] == pytest.approx(2 * found["score/lambda/mean"])


def test_tensorboard_takes_it_as_it_is(tmp_path):
    board = pytest.importorskip("torch.utils.tensorboard", reason="tensorboard is not installed")
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = steps()
    with board.SummaryWriter(tmp_path) as writer:
        for number, step in enumerate(found):
            for name, value in step.summary().items():
                writer.add_scalar(name, value, number)
    events = reading.EventAccumulator(str(tmp_path)).Reload()
    assert set(events.Tags()["scalars"]) == {name for step in found for name in step.summary()}
    for number, step in enumerate(found):
        logged = {
            name: event.value
            for name in step.summary()
            for event in events.Scalars(name)
            if event.step == number
        }
        assert_told(logged, step.summary(), rel=1e-6)  # it keeps float32


def test_wandb_takes_it_as_it_is(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_SILENT", "true")
    found = steps()
    with wandb.init(mode="offline", dir=tmp_path, project="reweight") as run:
        for step in found:
            run.log(step.summary())
            logged = {name: run.summary[name] for name in step.summary()}
            assert_told(logged, step.summary())
    assert list(Path(tmp_path).rglob("*.wandb"))


def test_mlflow_takes_it_as_it_is(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    uri = (tmp_path / "runs").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    found = steps()
    with mlflow.start_run() as run:
        for number, step in enumerate(found):
            mlflow.log_metrics(step.summary(), step=number)
    client = mlflow.tracking.MlflowClient(uri)
    for number, step in enumerate(found):
        logged = {
            name: metric.value
            for name in step.summary()
            for metric in client.get_metric_history(run.info.run_id, name)
            if metric.step == number
        }
        assert_told(logged, step.summary())
