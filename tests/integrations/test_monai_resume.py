"""``ReweightedTrainer``: checkpoints hold what is remembered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from reweight import TrainingDynamics
from tests.integrations.medical import NOISY, network, parameters_of

pytest.importorskip("monai", reason="monai is in the extra monai")
pytest.importorskip("ignite", reason="ignite is in the extra monai")

from monai.handlers import CheckpointLoader, CheckpointSaver

from tests.integrations.monai_runs import remembering, trainer


def run_with_checkpoints(folder: Path, epochs: int, *, load: str | None = None) -> Any:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    dynamics = TrainingDynamics(NOISY)
    held: dict[str, Any] = {"network": model, "optimizer": optimizer}
    handlers: list[Any] = [CheckpointSaver(str(folder), dict(held), save_interval=1)]
    engine_free = dict(held)
    if load is not None:
        handlers.append(CheckpointLoader(load, engine_free))
    engine = trainer(
        epochs,
        model=model,
        optimizer=optimizer,
        train_handlers=handlers,
        options={**remembering(), "dynamics": dynamics},
    )
    for handler in handlers:  # as MONAI has it: epochs are the engine's own state
        held_by = handler.save_dict if isinstance(handler, CheckpointSaver) else handler.load_dict
        held_by["trainer"] = engine
        assert held_by["reweighting"] is engine.reweighting
    engine.run()
    return engine


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path):
    whole = run_with_checkpoints(tmp_path / "a", 4)
    run_with_checkpoints(tmp_path / "b", 2)
    file = str(tmp_path / "b" / "checkpoint_epoch=2.pt")
    assert "reweighting" in torch.load(file, weights_only=True)
    resumed = run_with_checkpoints(tmp_path / "c", 4, load=file)
    assert len(resumed.seen) == 6
    for left, right in zip(resumed.seen, whole.seen[6:], strict=True):
        assert torch.equal(left.weights, right.weights)
        assert torch.equal(left.trusted_loss, right.trusted_loss)
    for left, right in zip(
        parameters_of(resumed.network), parameters_of(whole.network), strict=True
    ):
        assert torch.equal(left, right)
    assert torch.equal(resumed.reweighter.dynamics.mean_loss, whole.reweighter.dynamics.mean_loss)


def test_savers_of_the_best_model_alone_are_left_as_they_are(tmp_path):
    model = network()
    saver = CheckpointSaver(str(tmp_path), {"net": model}, save_final=True)
    engine = trainer(1, model=model, train_handlers=[saver])
    assert set(saver.save_dict) == {"net"}
    own = {"net": model, "opt": engine.optimizer, "mine": engine.reweighter}
    engine._keep_reweighting(saver := CheckpointSaver(str(tmp_path), own, save_final=True))
    assert set(saver.save_dict) == {"net", "opt", "mine"}
