"""Models split over the ranks: refused in words where a gradient is needed, never zeros."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard

from reweight import (
    GradientSimilarity,
    LastLayerGradient,
    LossMagnitude,
    MetaReweighter,
    RandomWeights,
    Uniform,
)
from tests import oracle
from tests.comparing import assert_same
from tests.compatibility.marks import rows
from tests.distributed import problems as p


def fsdp1(model: nn.Module) -> nn.Module:
    return FullyShardedDataParallel(model, device_id=torch.device("cpu"), use_orig_params=True)


def fsdp1_inside(model: nn.Module) -> nn.Module:
    model.a = FullyShardedDataParallel(model.a, device_id=torch.device("cpu"))
    return model


def fsdp2(model: nn.Module) -> nn.Module:
    mesh = init_device_mesh("cpu", (2,))
    for part in (model.a, model.b):
        fully_shard(part, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def fsdp2_root(model: nn.Module) -> nn.Module:
    return fully_shard(model, mesh=init_device_mesh("cpu", (2,)))


def fsdp2_inside(model: nn.Module) -> nn.Module:
    fully_shard(model.b, mesh=init_device_mesh("cpu", (2,)))
    return model


def fsdp2_unsharded(model: nn.Module) -> nn.Module:
    sharded = fully_shard(model, mesh=init_device_mesh("cpu", (2,)), reshard_after_forward=False)
    sharded.unshard()
    return sharded


KINDS = {
    kind.__name__: kind
    for kind in (fsdp1, fsdp1_inside, fsdp2, fsdp2_root, fsdp2_inside, fsdp2_unsharded)
}
ABOUT = {
    kind: f"{kind[:5].upper()} ({name}), scores by gradients"
    for kind in KINDS
    for name in [{"1": "FullyShardedDataParallel", "2": "fully_shard"}[kind[4]]]
}
NEED_GRADIENTS: dict[str, dict[str, Any]] = {
    "default": {},
    "similarity": {"scorer": GradientSimilarity()},
    "forward": {"scorer": GradientSimilarity("forward")},
    "double_backward": {"scorer": GradientSimilarity("double_backward")},
    "finite_difference": {"scorer": GradientSimilarity("finite_difference")},
    "unrolled": {"scorer": GradientSimilarity("unrolled")},
    "last_layer": {"scorer": LastLayerGradient()},
    "mixture": {"scorer": Uniform() + LastLayerGradient()},
    "trusted_term": {"scorer": Uniform(), "trusted_coefficient": 1.0},
}


def refused_at_construction(kind: str) -> list[str]:
    model = KINDS[kind](p.made(p.Plain))
    messages = []
    for options in NEED_GRADIENTS.values():
        with pytest.raises(ValueError, match="DistributedDataParallel") as error:
            MetaReweighter(model, p.LOSS, **options)
        messages.append(str(error.value))
    with pytest.raises(ValueError, match="data loader"):
        MetaReweighter(model, p.LOSS, scorer=Uniform(), on_nonfinite="drop")
    return messages


@pytest.mark.parametrize("kind", rows("wrapper", KINDS, ABOUT, "refused"))
def test_what_needs_a_gradient_is_refused_at_construction_in_one_sentence(
    two_ranks, kind, record_property
):
    for messages in two_ranks(refused_at_construction, kind):
        for message in messages:
            assert ("FSDP1" if kind.startswith("fsdp1") else "FSDP2") in message
            assert message.count(". ") == 0
        record_property(
            "reason", re.sub("sharded by .*? cannot", "sharded by … cannot", messages[0])
        )


def refused_in_the_step(kind: str) -> None:
    """A model sharded after the reweighter was built, and scorers of a user's own."""
    noisy, trusted = p.batches(0)
    bare = p.made(p.Plain)
    early = [MetaReweighter(bare, p.LOSS, **options) for options in NEED_GRADIENTS.values()]
    sharded = KINDS[kind](bare)
    if sharded is bare:
        for weigh in early:
            with pytest.raises(ValueError, match="sharded"):
                weigh(noisy, trusted)

    def own(context: Any) -> Any:
        return context.directional_derivative(context.trusted_gradient())

    with pytest.raises(ValueError, match="sharded"):
        MetaReweighter(sharded, p.LOSS, scorer=own)(noisy, trusted)
    for scorer in (LossMagnitude(), own):
        with pytest.raises(ValueError, match="sharded"):
            MetaReweighter(sharded, p.LOSS, scorer=scorer).score(noisy, trusted)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_found_out_later_is_refused_then(two_ranks, kind):
    two_ranks(refused_in_the_step, kind)


def trains(kind: str, scorer: str) -> None:
    """Scorers without a gradient: the training pass alone, which the wrapper knows."""
    scorers = {"loss": LossMagnitude, "uniform": Uniform, "random": RandomWeights}
    bare = p.made(p.Plain)
    twin = copy.deepcopy(bare)
    model = KINDS[kind](bare)
    weigh = MetaReweighter(model, p.LOSS, scorer=scorers[scorer]())
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in (model, twin)]
    for step in range(3):
        noisy, _ = p.batches(step)
        found = weigh(noisy)
        found.loss.backward()
        losses = p.supervised(twin, noisy)
        assert_same(found.losses, losses, 1e-9)
        if scorer == "loss":
            assert_same(found.weights, losses / losses.sum(), 1e-9)
        if scorer == "uniform":
            assert_same(found.weights, torch.full_like(losses, 1 / len(losses)), 1e-9)
        gradient = p.expected_gradient(found.weights, 0.0, twin, p.supervised, noisy, None)
        sizes = [q.numel() for q in twin.parameters()]
        for q, part in zip(twin.parameters(), gradient.split(sizes), strict=True):
            q.grad = part.view_as(q)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()


@pytest.mark.compatibility(
    "wrapper",
    "FSDP1 and FSDP2, scores without a gradient (LossMagnitude, Uniform, RandomWeights)",
    "exact",
)
@pytest.mark.parametrize("scorer", ["loss", "uniform", "random"])
@pytest.mark.parametrize("kind", ["fsdp1", "fsdp2", "fsdp2_root"])
def test_scorers_that_need_no_gradient_train_a_sharded_model(two_ranks, kind, scorer):
    two_ranks(trains, kind, scorer)


def replica() -> None:
    """What the refusal advises: score a full replica, and weigh the losses by its weights."""
    noisy, trusted = p.batches(0)
    bare = p.made(p.Plain)
    twin = copy.deepcopy(bare)
    model = fsdp2(bare)
    weights = MetaReweighter(twin, p.LOSS).score(noisy, trusted).weights
    expected = p.expected_gradient(weights, 0.0, twin, p.supervised, noisy, trusted)
    (weights * p.supervised(model, noisy)).sum().backward()
    found = oracle.flat([q.grad.full_tensor() for q in model.parameters()])
    assert_same(found, expected, 1e-9)


def test_the_way_round_that_the_refusal_names_is_right(two_ranks):
    two_ranks(replica)


def test_one_rank_alone_is_refused_too(tmp_path):
    """Parameters are DTensors then as well."""
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/init", rank=0, world_size=1)
    try:
        model = fully_shard(p.made(p.Plain), mesh=init_device_mesh("cpu", (1,)))
        with pytest.raises(ValueError, match="FSDP2"):
            MetaReweighter(model, p.LOSS)
    finally:
        dist.destroy_process_group()


def shared_statistics() -> str:
    bare = p.made(p.Normalised)
    model = nn.SyncBatchNorm.convert_sync_batchnorm(bare)
    for options in NEED_GRADIENTS.values():
        with pytest.raises(ValueError, match="SyncBatchNorm") as error:
            MetaReweighter(model, p.LOSS, **options)
    MetaReweighter(model, p.LOSS, scorer=LossMagnitude())
    weigh = MetaReweighter(model.eval(), p.LOSS)
    model.train()
    with pytest.raises(ValueError, match="SyncBatchNorm"):
        weigh.score(*p.batches(0))
    return str(error.value)


@pytest.mark.compatibility("wrapper", "SyncBatchNorm in train mode, several ranks", "refused")
def test_statistics_of_several_ranks_are_refused(two_ranks, record_property):
    record_property("reason", two_ranks(shared_statistics)[0])


def megatron() -> str:
    model = p.made(p.Plain)
    model.a.weight.tensor_model_parallel = False
    MetaReweighter(model, p.LOSS)
    model.a.weight.tensor_model_parallel = True
    with pytest.raises(ValueError, match="Megatron") as error:
        MetaReweighter(model, p.LOSS)
    return str(error.value)


@pytest.mark.compatibility("wrapper", "Megatron, scores by gradients", "refused")
def test_megatron_s_parts_of_parameters_are_refused(two_ranks, record_property):
    record_property(
        "reason", re.sub("sharded by .*? cannot", "sharded by … cannot", two_ranks(megatron)[0])
    )
