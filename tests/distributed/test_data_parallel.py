"""``DistributedDataParallel`` in its modes: equal ranks, and on each what plain autograd says."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.nn.parallel import DistributedDataParallel

from reweight import LastLayerGradient, MetaReweighter, Uniform
from tests.comparing import assert_same
from tests.compatibility.marks import rows
from tests.distributed import problems as p

MODES: dict[str, dict[str, Any]] = {
    "plain": {},
    "static_graph": {"static_graph": True},
    "find_unused": {"find_unused_parameters": True},
    "bucket_view": {"gradient_as_bucket_view": True},
    "static_bucket_view": {"static_graph": True, "gradient_as_bucket_view": True},
    "small_buckets": {"static_graph": True, "bucket_cap_mb": 1e-4},
    "no_broadcast": {"find_unused_parameters": True, "broadcast_buffers": False},
}
RANKS = ("exact", "equal on all ranks")
ABOUT = {
    "plain": ("DistributedDataParallel", *RANKS),
    "static_graph": ("DistributedDataParallel, static_graph=True", *RANKS),
    "find_unused": ("DistributedDataParallel, find_unused_parameters=True", *RANKS),
    "bucket_view": ("DistributedDataParallel, gradient_as_bucket_view=True", *RANKS),
}
MODELS = {
    "plain": (p.Plain,),
    "batchnorm": (p.Normalised,),
    "unused": (p.Unused,),
    "checkpointed": (p.Checkpointed,),
    "dropout": (p.Dropped,),
    "dict": (p.Nested, "dict"),
    "tuple": (p.Nested, "tuple"),
    "dataclass": (p.Nested, "dataclass"),
}


def train(
    model: str, mode: str, scorer: str, beta: float, steps: int = 3, accumulate: int = 1
) -> dict[str, Any]:
    """Some steps, each compared with the oracle; how often the model ran, a step."""
    bare = p.made(*MODELS[model])
    forward = p.loss_of_nested if isinstance(bare, p.Nested) else p.supervised
    wrapped = DistributedDataParallel(bare, **MODES[mode])
    weigh = MetaReweighter(
        wrapped, forward=forward, scorer=p.SCORERS[scorer](), trusted_coefficient=beta
    )
    optimizer = torch.optim.SGD(wrapped.parameters(), lr=0.1, momentum=0.9)
    ran: list[int] = []
    counted = [0]
    for step in range(steps):
        optimizer.zero_grad()
        total: Any = 0.0
        for part in range(accumulate):
            noisy, trusted = p.batches(10 * step + part)
            if MODES[mode].get("broadcast_buffers", True):
                for buffer in bare.buffers():  # what DDP will do
                    dist.broadcast(buffer, 0)
            random = torch.get_rng_state()
            weights = p.expected_weights(scorer, bare, forward, noisy, trusted)
            total = total + p.expected_gradient(weights, beta, bare, forward, noisy, trusted)
            torch.set_rng_state(random)
            hook = bare.register_forward_pre_hook(lambda *_: counted.__setitem__(0, counted[0] + 1))
            last = part == accumulate - 1
            with contextlib.nullcontext() if last else wrapped.no_sync():
                found = weigh(noisy, trusted)
                hook.remove()
                assert_same(found.weights, weights, 1e-9)
                found.loss.backward()
        assert_same(p.gradient_of(bare), total, 1e-9)
        optimizer.step()
        p.assert_equal_on_ranks(bare)
        ran.append(counted[0])
        counted[0] = 0
    return {"ran": ran, "followed": weigh._objective.verdicts.can_be_followed}


@pytest.mark.parametrize("beta", [0.0, 1.0])
@pytest.mark.parametrize("scorer", p.SCORERS)
@pytest.mark.parametrize(
    "mode", rows("wrapper", ["plain", "static_graph", "find_unused", "bucket_view"], ABOUT)
)
def test_every_scorer_gives_equal_ranks_and_the_oracles_weights(two_ranks, mode, scorer, beta):
    two_ranks(train, "plain", mode, scorer, beta)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("model", MODELS)
def test_every_mode_trains_every_model(two_ranks, model, mode):
    if model == "unused" and "static_graph" not in MODES[mode]:
        mode = "find_unused"
    if model == "dataclass" and "static_graph" in MODES[mode]:
        pytest.skip("DDP does not lead it through its sink: nothing is reduced in plain training")
    two_ranks(train, model, mode, "default", 0.5)


@pytest.mark.compatibility(
    "wrapper", "DistributedDataParallel, gradients accumulated under no_sync()", "exact"
)
@pytest.mark.parametrize("mode", ["plain", "find_unused", "bucket_view"])
@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_gradients_accumulate_without_syncing(two_ranks, mode, beta):
    two_ranks(train, "batchnorm", mode, "default", beta, 3, 3)


@pytest.mark.parametrize("model", ["plain", "unused", "batchnorm", "dict", "tuple", "dataclass"])
def test_unused_parameters_are_looked_for_at_no_further_pass(two_ranks, model):
    plain = two_ranks(
        train, "batchnorm" if model == "batchnorm" else "plain", "plain", "default", 1.0
    )
    looking = two_ranks(train, model, "find_unused", "default", 1.0)
    for one, other in zip(plain, looking, strict=True):
        # the trusted pass and the training pass; in the first two steps one more proves the
        # scores, and in the first of all one finds out what passes write into
        assert other["ran"] == one["ran"] == [4, 3, 2]
        assert other["followed"]


@pytest.mark.parametrize("scorer", ["default", "similarity", "last_layer"])
def test_static_graph_takes_further_passes_in_the_first_step_alone(two_ranks, scorer):
    plain = two_ranks(train, "plain", "plain", scorer, 0.0, 5)
    static = two_ranks(train, "plain", "static_graph", scorer, 0.0, 5)
    for one, other in zip(plain, static, strict=True):
        assert other["ran"][0] > one["ran"][0]
        # The way taken from the second step on is proven in two steps, as without it.
        assert other["ran"][1:3] == [one["ran"][1]] * 2
        assert other["ran"][3:] == one["ran"][3:]
        assert other["followed"]


def accumulated(weigh: bool) -> list[float]:
    """Gradients under static_graph. (In a first step, DDP itself fails under no_sync.)"""
    bare = p.made(p.Plain)
    wrapped = DistributedDataParallel(bare, static_graph=True)
    even = MetaReweighter(
        wrapped, forward=p.supervised, scorer=0.5 * Uniform() + 1e-12 * LastLayerGradient()
    )
    found = []
    for step in range(4):
        bare.zero_grad()
        for part in range(2 if step else 1):
            noisy, trusted = p.batches(10 * step + part)
            with contextlib.nullcontext() if part or not step else wrapped.no_sync():
                if weigh:
                    even(noisy, trusted).loss.backward()
                else:
                    p.supervised(wrapped, noisy).mean().backward()
        found += p.gradient_of(bare).tolist()
    return found


def test_accumulation_under_static_graph_is_what_ddp_makes_of_it(two_ranks):
    ours, plain = two_ranks(accumulated, True), two_ranks(accumulated, False)
    assert plain[0] == plain[1]
    for one, other in zip(ours, plain, strict=True):
        assert one == pytest.approx(other, rel=1e-6, abs=1e-9)


def scores_before_training() -> None:
    """What score() does, on one rank alone too, must not count as DDP's first iteration."""
    bare = p.made(p.Normalised)
    wrapped = DistributedDataParallel(bare, static_graph=True)
    weigh = MetaReweighter(wrapped, forward=p.supervised)
    noisy, trusted = p.batches(0)
    for _ in range(1 + 2 * dist.get_rank()):
        first = weigh.score(noisy, trusted)
    for step in range(2):
        bare.zero_grad()
        weights = p.expected_weights("default", bare, p.supervised, noisy, trusted)
        gradient = p.expected_gradient(weights, 0.0, bare, p.supervised, noisy, trusted)
        if step == 0:
            assert_same(first.weights, weights, 1e-9)
        weigh(noisy, trusted).loss.backward()
        assert_same(p.gradient_of(bare), gradient, 1e-9)


def test_score_alone_leaves_static_graph_as_it_was(two_ranks):
    two_ranks(scores_before_training)


def buffers_that_count() -> None:
    """In eval mode BatchNorm computes with its buffers: rank 0's, which DDP broadcasts first."""
    bare = p.made(p.Normalised)
    wrapped = DistributedDataParallel(bare)
    weigh = MetaReweighter(wrapped, forward=p.supervised, trusted_coefficient=1.0)
    noisy, trusted = p.batches(0)
    weigh(noisy, trusted).loss.backward()  # each rank has running statistics of its own now
    bare.zero_grad()
    bare.eval()
    twin = p.made(p.Normalised).eval()
    twin.load_state_dict(bare.state_dict())
    before = bare[1].running_mean.clone()
    for buffer in twin.buffers():
        dist.broadcast(buffer, 0)
    weights = p.expected_weights("default", twin, p.supervised, noisy, trusted)
    gradient = p.expected_gradient(weights, 1.0, twin, p.supervised, noisy, trusted)
    step = weigh(noisy, trusted)
    assert_same(step.weights, weights, 1e-9)
    step.loss.backward()
    assert_same(p.gradient_of(bare), gradient, 1e-9)
    if dist.get_rank():
        assert not torch.equal(bare[1].running_mean, before)


def test_scores_start_from_the_buffers_that_are_broadcast(two_ranks):
    two_ranks(buffers_that_count)


def failing_then_training() -> None:
    """A forward pass that raises must leave DDP as it would."""
    bare = p.made(p.Normalised)
    wrapped = DistributedDataParallel(bare)
    calls = [0]

    def forward(model: nn.Module, batch: Any) -> Any:
        calls[0] += 1
        if calls[0] == 1:
            raise KeyError("no such thing")
        return p.supervised(model, batch)

    weigh = MetaReweighter(wrapped, forward=forward, scorer=p.SCORERS["loss"]())
    noisy, trusted = p.batches(0)
    with contextlib.suppress(KeyError):
        weigh(noisy, trusted)
    assert wrapped.will_sync_module_buffers()
    assert not bare._forward_hooks
    assert not wrapped._forward_hooks
    weigh(noisy, trusted).loss.backward()
    assert wrapped.will_sync_module_buffers()


def test_a_pass_that_raises_leaves_the_wrapper_as_it_was(two_ranks):
    two_ranks(failing_then_training)


def wrapped_inside(mode: str) -> bool:
    model, twin = (
        p.made(
            p.WrappedInside,
        )
        for _ in range(2)
    )
    model.options = MODES[mode]
    model.wrap()
    weigh = MetaReweighter(model, forward=p.supervised, trusted_coefficient=1.0)
    for step in range(3):
        noisy, trusted = p.batches(step)
        for mine, other in zip(
            [*model.parameters(), *model.buffers()],
            [*twin.parameters(), *twin.buffers()],
            strict=True,
        ):
            other.data.copy_(mine)
            if MODES[mode].get("broadcast_buffers", True) and not mine.requires_grad:
                dist.broadcast(other, 0)
        weights = p.expected_weights("default", twin, p.supervised, noisy, trusted)
        gradient = p.expected_gradient(weights, 1.0, twin, p.supervised, noisy, trusted)
        if dist.get_rank() == 0:
            weigh.score(noisy, trusted)  # alone
        model.zero_grad()
        found = weigh(noisy, trusted)
        assert_same(found.weights, weights, 1e-9)
        found.loss.backward()
        for q in model.b.parameters():  # which no wrapper knows
            dist.all_reduce(q.grad)
            q.grad /= 2
        assert_same(p.gradient_of(model), gradient, 1e-9)
        with torch.no_grad():
            for q in model.parameters():
                q -= 0.1 * q.grad
        p.assert_equal_on_ranks(model)
    return weigh._objective.verdicts.can_be_followed


@pytest.mark.parametrize("mode", MODES)
def test_a_part_of_the_model_may_be_wrapped(two_ranks, mode):
    assert two_ranks(wrapped_inside, mode) == [True, True]


def zero_redundancy() -> None:
    """Its optimiser state is split over the ranks, and nothing else."""
    bare = p.made(p.Plain)
    wrapped = DistributedDataParallel(bare)
    optimizer = ZeroRedundancyOptimizer(
        wrapped.parameters(), optimizer_class=torch.optim.AdamW, lr=0.01
    )
    weigh = MetaReweighter(wrapped, forward=p.supervised, trusted_coefficient=0.5)
    for step in range(3):
        noisy, trusted = p.batches(step)
        weights = p.expected_weights("default", bare, p.supervised, noisy, trusted)
        found = weigh(noisy, trusted)
        assert_same(found.weights, weights, 1e-9)
        found.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        p.assert_equal_on_ranks(bare)


def test_an_optimiser_split_over_the_ranks(two_ranks):
    two_ranks(zero_redundancy)
