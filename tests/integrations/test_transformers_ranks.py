"""Several processes of the weighing Trainer, under DistributedDataParallel."""
# ruff: noqa: E402 - what is missing is skipped before it is imported

from __future__ import annotations

import os

import pytest
import torch
import torch.distributed as dist

from tests.compatibility.frameworks import need

for _name in ("transformers", "datasets", "accelerate"):
    need(_name)

from reweight import SampleWeights
from tests.distributed.ranks import Ranks
from tests.integrations.tiny_transformers import sentences
from tests.integrations.weighing_trainer import trainer_of


def trained(folder, size):
    """Return parameters, remembered weights and what was wrapped, of 24 rows in steps of 8."""
    if dist.is_initialized():
        rank = str(dist.get_rank())
        os.environ |= {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": str(dist.get_world_size())}
        os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
    trainer = trainer_of(
        folder,
        noisy=sentences(24),
        reweighter={
            "weighting": SampleWeights(24),
            "trusted_coefficient": 0.1,
            "sync": "global",
        },
        settings={
            "per_device_train_batch_size": size,
            "save_strategy": "epoch",
            **({"ddp_backend": "gloo"} if dist.is_initialized() else {}),
        },
    )
    trainer.train()
    parameters = {n: p.detach().clone() for n, p in trainer.model.named_parameters()}
    return parameters, trainer.reweighter.weighting.weights, type(trainer.reweighter.model).__name__


@pytest.mark.slow
def test_two_processes_weigh_their_batches_as_one_process_weighs_them_together(tmp_path):
    alone, weights, _ = trained(tmp_path / "alone", 8)
    ranks = Ranks(tmp_path)
    try:
        found = ranks(trained, tmp_path / "together", 4)
    finally:
        ranks.stop()
    for parameters, remembered, wrapper in found:
        assert wrapper == "DistributedDataParallel"
        torch.testing.assert_close(remembered, weights, rtol=1e-4, atol=1e-5)
        for name, value in alone.items():
            torch.testing.assert_close(parameters[name], value, rtol=1e-4, atol=1e-6)
    saved = {file.name for file in (tmp_path / "together" / "checkpoint-3").glob("reweighter*")}
    assert saved == {"reweighter_0.pt", "reweighter_1.pt"}
