"""What ranks tell each other in a step: how many are kept, what to remember, who has failed."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from reweight import (
    GradientSimilarity,
    GroupWeights,
    LastLayerGradient,
    LossMagnitude,
    MetaReweighter,
    NonFiniteError,
    OtherRankError,
    SampleWeights,
    Uniform,
    WeightingContext,
)
from reweight._step.ranks import Ranks
from tests.comparing import assert_same
from tests.distributed import problems as p
from tests.distributed.test_sharded import KINDS

IDS = 9


def ids_of(rank: int, seed: int) -> Tensor:
    random = torch.Generator().manual_seed(7 * seed + rank)
    return torch.randint(0, IDS, (p.COUNT,), generator=random)


def wrapped(**options: Any) -> MetaReweighter:
    return MetaReweighter(DistributedDataParallel(p.made(p.Plain)), p.LOSS, **options)


def similarity(**options: Any) -> MetaReweighter:
    return wrapped(scorer=GradientSimilarity(), **options)


def gathered(values: Tensor) -> Tensor:
    found = [torch.empty_like(values) for _ in range(dist.get_world_size())]
    dist.all_gather(found, values)
    return torch.stack(found)


def on_rank_0_alone(weights: Tensor) -> Tensor:
    return weights * (dist.get_rank() == 0)


def skip_together() -> None:
    """README's loop, where one rank keeps nothing."""
    for start in range(2):  # the second time, no rank keeps anything
        selector = on_rank_0_alone if start == 0 else lambda w: 0 * w
        weigh = wrapped(scorer=Uniform(), selector=selector)
        optimizer = torch.optim.SGD(weigh.model.parameters(), 0.1, momentum=0.9)
        before = p.oracle.flat([q.detach().clone() for q in weigh.model.parameters()])
        for seed in range(3):
            optimizer.zero_grad()
            step = weigh(*p.batches(seed))
            assert step.kept == (0 if start else p.COUNT)
            assert step.empty == (start == 1 or dist.get_rank() == 1)
            step.loss.backward()
            if step.kept:
                optimizer.step()
            p.assert_equal_on_ranks(weigh.model)
        after = p.oracle.flat([q.detach() for q in weigh.model.parameters()])
        assert torch.equal(before, after) == (start == 1)


def test_ranks_skip_a_step_together(two_ranks):
    two_ranks(skip_together)


def equal_weights_where_none_is_left() -> None:
    weigh = wrapped(scorer=Uniform(), selector=on_rank_0_alone, on_empty="uniform")
    step = weigh(*p.batches(0))
    assert step.kept == 2 * p.COUNT
    assert step.empty == (dist.get_rank() == 1)


def test_equal_weights_of_one_rank_are_counted_as_kept(two_ranks):
    two_ranks(equal_weights_where_none_is_left)


def one_memory(sync: str) -> None:
    """A slow loop over the rows of both ranks."""
    weigh = similarity(weighting=SampleWeights(IDS, rate=0.7), sync=sync)
    expected = torch.zeros(IDS, dtype=torch.float64)
    optimizer = torch.optim.SGD(weigh.model.parameters(), 0.1)
    for seed in range(4):
        optimizer.zero_grad()
        step = weigh(*p.batches(seed), ids=ids_of(dist.get_rank(), seed))
        scores = gathered(step.scores["gradient_similarity"]).flatten()
        z = (scores / scores.square().mean().sqrt()).clamp(-3, 3)
        rows = torch.cat([ids_of(rank, seed) for rank in range(2)])
        for row in rows.unique():
            expected[row] += 0.7 * z[rows == row].mean()
        table = weigh.weighting.remembered
        assert_same(table, expected, 1e-6)
        assert torch.equal(*gathered(table))
        if sync == "local":
            own = weigh.weighting.weights[ids_of(dist.get_rank(), seed)]
            assert_same(step.weights, own / own.sum(), 1e-6)
        step.loss.backward()
        optimizer.step()
    p.assert_equal_on_ranks(weigh.model)


@pytest.mark.compatibility(
    "wrapper", "DistributedDataParallel, sync='local', SampleWeights", "one memory on all ranks"
)
@pytest.mark.parametrize("sync", ["local", "global"])
def test_what_is_remembered_is_of_all_ranks_and_equal_bit_for_bit(two_ranks, sync):
    two_ranks(one_memory, sync)


def loaded_everywhere() -> None:
    def made() -> MetaReweighter:
        return similarity(weighting=SampleWeights(IDS) + GroupWeights(["a", "b"]), sync="global")

    def trained(weigh: MetaReweighter, seed: int) -> Tensor:
        ids = ids_of(dist.get_rank(), seed)
        return weigh(*p.batches(seed), ids=ids, groups=ids % 2).weights

    first = made()
    for seed in range(2):
        trained(first, seed)
    state = [copy.deepcopy(first.state_dict()) if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(state, 0)
    second = made()
    second.load_state_dict(state[0])
    assert torch.equal(trained(first, 2), trained(second, 2))


def test_a_state_saved_on_one_rank_loads_on_all(two_ranks):
    two_ranks(loaded_everywhere)


CALLS = {
    "per_batch": (dict, 1, 3),
    "similarity": (lambda: {"scorer": GradientSimilarity()}, 1, 3),
    "trusted_term": (lambda: {"trusted_coefficient": 1.0}, 1, 3),
    "last_layer": (lambda: {"scorer": LastLayerGradient()}, 1, 2),
    "memory": (lambda: {"scorer": GradientSimilarity(), "weighting": SampleWeights(IDS)}, 3, 3),
    "held": (lambda: {"scorer": GradientSimilarity(renew_every=2)}, 1, 3),
}


def messages(name: str, sync: str) -> list[int]:
    made, *_ = CALLS[name]
    weigh = wrapped(**made(), sync=sync)
    found = []
    with pytest.MonkeyPatch.context() as patch:
        counted = [0]
        for collective in ("all_reduce", "all_gather"):
            original = getattr(dist, collective)

            def counting(*args: Any, original: Any = original, **named: Any) -> Any:
                counted[0] += 1
                return original(*args, **named)

            patch.setattr(dist, collective, counting)
        for seed in range(3):
            counted[0] = 0
            weigh(*p.batches(seed), ids=ids_of(dist.get_rank(), seed))
            found.append(counted[0])
        counted[0] = 0
        if sync == "local" and dist.get_rank() == 0:
            weigh.score(*p.batches(3), ids=ids_of(0, 3))  # alone
            weigh.check(*p.batches(3))
            assert counted[0] == 0
    return found


@pytest.mark.parametrize("name", CALLS)
def test_a_step_sends_few_messages(two_ranks, name):
    _, local, together = CALLS[name]
    assert two_ranks(messages, name, "local") == [[local] * 3] * 2
    for found in two_ranks(messages, name, "global"):
        assert found[0] == together
        assert set(found) <= {together, together - (name == "held")}


BAD = ["noisy", "trusted", "ids", "missing"]


def one_fails(bad: str, sync: str, memory: bool, method: Any) -> None:
    options: dict[str, Any] = {"weighting": SampleWeights(IDS)} if memory else {}
    beta = 1.0 if method == "auto" else 0.0
    held = method == "renewed"
    scorer = GradientSimilarity(renew_every=3) if held else GradientSimilarity(method)
    weigh = wrapped(scorer=scorer, sync=sync, trusted_coefficient=beta, **options)
    noisy, trusted = p.batches(0)
    ids: Any = ids_of(dist.get_rank(), 0)
    expected: Any = OtherRankError
    if dist.get_rank() == 1:
        if bad == "ids":
            ids = ids + (IDS if memory else -IDS)
        elif bad == "missing":
            trusted = None
        else:
            (noisy if bad == "noisy" else trusted)[0][2] = float("nan")
        expected = ValueError if bad in ("ids", "missing") else NonFiniteError
    before = copy.deepcopy(weigh.state_dict())
    with pytest.raises(expected) as caught:
        weigh(noisy, trusted, ids=ids)
    assert type(caught.value) is expected
    if not held:
        for mine, other in zip(_tensors(before), _tensors(weigh.state_dict()), strict=True):
            assert torch.equal(mine, other)
    for seed in range(1, 4):
        weigh.model.zero_grad()
        weigh(*p.batches(seed), ids=ids_of(dist.get_rank(), seed)).loss.backward()
        with torch.no_grad():
            for q in weigh.model.parameters():
                q -= 0.1 * q.grad
        p.assert_equal_on_ranks(weigh.model)


def _tensors(state: Any) -> list[Tensor]:
    if isinstance(state, dict):
        return [tensor for part in state.values() for tensor in _tensors(part)]
    return [state] if isinstance(state, Tensor) else []


@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize("sync", ["local", "global"])
@pytest.mark.parametrize("method", ["auto", "unrolled", "renewed"])
@pytest.mark.parametrize("bad", BAD)
def test_an_error_on_one_rank_is_an_error_on_all(two_ranks, bad, method, sync, memory):
    two_ranks(one_fails, bad, sync, memory, method)


def other_columns() -> None:
    ids = ids_of(0, 0) if dist.get_rank() == 0 else None
    with pytest.raises(ValueError, match="on all ranks or on none"):
        similarity(sync="global")(*p.batches(0), ids=ids)


def test_ranks_must_bring_the_same_things(two_ranks):
    two_ranks(other_columns)


def sometimes_labelled(context: WeightingContext) -> Tensor:
    assert context.labels is None
    assert context.margins is None
    assert context.logits is None
    return torch.ones_like(context.losses)


class LossOfSome:
    """Logits where the target is a class; on rank 1 it is a pair, of which less is known."""

    def __call__(self, output: Tensor, target: Any) -> Tensor:
        return p.LOSS(output, target["y"] if isinstance(target, dict) else target)


def labelled_on_one() -> None:
    weigh = MetaReweighter(
        DistributedDataParallel(p.made(p.Plain)),
        LossOfSome(),
        scorer=GradientSimilarity(),
        weighting=sometimes_labelled,
        sync="global",
    )
    noisy, trusted = p.batches(0)
    if dist.get_rank() == 1:
        noisy = noisy[0], {"y": noisy[1]}
    assert float(weigh(noisy, trusted).weights.sum()) == pytest.approx(0.5)


def test_what_one_rank_does_not_know_none_knows(two_ranks):
    two_ranks(labelled_on_one)


def rows_travel() -> None:
    """Whole numbers that no float holds, numbers of all kinds, and no rows at all."""
    rank, world = dist.get_rank(), dist.get_world_size()
    ranks = Ranks(dist.group.WORLD, torch.device("cpu"), ["rows"])
    count = 3 * rank
    big = torch.arange(count) + 2**60 + rank
    fine = torch.rand(count, dtype=torch.float64)
    wide = torch.rand(count, 2, 3).half()
    joint, found = ranks.joint([big, fine, wide, big > 0])
    assert joint.counts == [3 * r for r in range(world)]
    assert found[0].tolist() == [2**60 + r + i for r in range(world) for i in range(3 * r)]
    for mine, theirs in zip([big, fine, wide, big > 0], found, strict=True):
        assert theirs.dtype == mine.dtype
        assert torch.equal(joint.own(theirs), mine)
    empty, nothing = Ranks(dist.group.WORLD, torch.device("cpu"), ["rows"]).joint([big[:0]])
    assert empty.counts == [0] * world
    assert nothing[0].shape == (0,)


def test_rows_travel_as_they_are(two_ranks, three_ranks):
    two_ranks(rows_travel)
    three_ranks(rows_travel)


def alone_in_a_group() -> None:
    """World size 1: nothing changes by a bit, and nothing is sent."""
    groups = [dist.new_group([rank]) for rank in range(2)]
    results = []
    for sync in ("local", "global"):
        bare = p.made(p.Plain)
        model = DistributedDataParallel(bare, process_group=groups[dist.get_rank()])
        weigh = MetaReweighter(
            model, p.LOSS, sync=sync, weighting=SampleWeights(IDS), trusted_coefficient=0.5
        )
        for seed in range(2):
            step = weigh(*p.batches(seed), ids=ids_of(dist.get_rank(), seed))
            step.loss.backward()
        results.append([step.loss, step.weights, p.gradient_of(bare), weigh.weighting.remembered])
        assert step.weights_of_all is None
    for mine, other in zip(*results, strict=True):
        assert torch.equal(mine, other)


def test_one_rank_alone_is_as_it_is_by_itself(two_ranks):
    two_ranks(alone_in_a_group)


def uneven() -> None:
    """Join stands in for a rank that has no batch left: no message of ours may wait for it."""
    weigh = similarity()
    with weigh.model.join():
        for seed in range(2 + 2 * dist.get_rank()):
            weigh(*p.batches(seed)).loss.backward()
    p.assert_equal_on_ranks(weigh.model)
    for options in ({"sync": "global"}, {"weighting": SampleWeights(IDS)}):
        other = similarity(**options)
        with pytest.raises(RuntimeError, match="Join"), other.model.join():
            other(*p.batches(0), ids=ids_of(0, 0))


def test_ranks_with_fewer_batches_under_join(two_ranks):
    two_ranks(uneven)


def sharded(options: dict[str, Any]) -> str:
    scorer = LossMagnitude()
    scorer.signed = True
    with pytest.raises(ValueError, match="DistributedDataParallel alone") as caught:
        MetaReweighter(KINDS["fsdp2"](p.made(p.Plain)), p.LOSS, scorer=scorer, **options)
    return str(caught.value)


@pytest.mark.compatibility("wrapper", "FSDP2, sync='global'", "refused")
def test_a_sharded_model_is_not_weighed_together(two_ranks, record_property):
    record_property("reason", two_ranks(sharded, {"sync": "global"})[0])
    two_ranks(sharded, {"weighting": SampleWeights(IDS)})
