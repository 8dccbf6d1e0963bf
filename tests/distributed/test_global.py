"""``sync="global"``: several ranks train as one process on the joint batches would."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from reweight import GroupWeights, MetaReweighter
from tests.comparing import assert_same
from tests.compatibility.marks import rows
from tests.distributed import problems as p
from tests.distributed.joint import BUILDERS, Scene, compare

ABOUT = {
    name: (f"DistributedDataParallel, sync='global', {what}", "equal to one process")
    for name, what in {
        "similarity": "gradient similarity",
        "default": "the default",
        "sample": "SampleWeights",
        "group": "GroupWeights",
        "sum": "SampleWeights + GroupWeights",
        "unrolled": "method='unrolled'",
    }.items()
}


class OfEach(p.Plain):
    """Weighs what it says of each position, ``(C, K, T)``."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).movedim(-1, 1)


@pytest.mark.parametrize("beta", [0.0, 1.0])
@pytest.mark.parametrize("builder", rows("wrapper", BUILDERS, ABOUT))
def test_ranks_train_as_one_process_on_the_joint_batches(two_ranks, builder, beta):
    two_ranks(compare, builder, Scene(beta=beta))


@pytest.mark.parametrize("builder", ["default", "sum", "top_k", "unrolled"])
def test_so_do_three(three_ranks, builder):
    three_ranks(compare, builder, Scene(beta=0.5))


@pytest.mark.parametrize("builder", ["default", "similarity", "sum", "function", "unrolled"])
@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_ignored_targets_do_not_count_and_a_rank_may_have_none_else(two_ranks, builder, beta):
    two_ranks(compare, builder, Scene(beta=beta, ignored=True, sizes=((6, 4), (5, 3))))


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("builder", ["default", "top_k", "sum", "function", "none_left_uniform"])
def test_elements_are_weighed_together_too(two_ranks, builder, ignored):
    options = {"granularity": "element"}
    two_ranks(
        compare, builder, Scene(OfEach, options=options, shape=(3,), ignored=ignored, beta=0.5)
    )


@pytest.mark.parametrize("mode", ["static_graph", "gradient_as_bucket_view"])
@pytest.mark.parametrize("builder", ["default", "sum"])
def test_in_ddps_other_modes(two_ranks, builder, mode):
    two_ranks(compare, builder, Scene(ddp={mode: True}, beta=1.0))


HEADS = {
    "all_different": ((0, 1), (2, 0)),
    "one_each": ((0, 0), (1, 1)),
    "trusted_elsewhere_on_one": ((0, 0), (0, 2)),
}


@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("beta", [0.0, 1.0])
@pytest.mark.parametrize("builder", ["default", "similarity", "sample", "unrolled"])
def test_parameters_that_one_ranks_batches_do_not_use(two_ranks, builder, beta, heads):
    scene = Scene(p.Routed, ddp={"find_unused_parameters": True}, beta=beta, heads=HEADS[heads])
    two_ranks(compare, builder, scene)


@pytest.mark.parametrize("builder", ["default", "sample"])
@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_gradients_accumulate_under_no_sync(two_ranks, builder, beta):
    two_ranks(compare, builder, Scene(accumulate=3, beta=beta))


@pytest.mark.parametrize("builder", ["default", "sample"])
def test_under_bfloat16_autocast(two_ranks, builder):
    two_ranks(compare, builder, Scene(autocast=True, beta=1.0), 1e-6)


def in_half_precision() -> None:
    bare = p.made(p.Plain).to(torch.bfloat16)
    weigh = MetaReweighter(
        DistributedDataParallel(bare), p.LOSS, sync="global", trusted_coefficient=1.0
    )
    noisy, trusted = p.batches(0)
    step = weigh((noisy[0].bfloat16(), noisy[1]), (trusted[0].bfloat16(), trusted[1]))
    step.loss.backward()
    assert step.weights_of_all is not None
    assert float(step.weights_of_all.sum()) == pytest.approx(1.0, rel=1e-2)
    assert all(q.grad.dtype is torch.bfloat16 for q in bare.parameters())


def test_parameters_in_half_precision(two_ranks):
    two_ranks(in_half_precision)


def part_wrapped() -> None:
    """The rest of the model is the user's own to average."""
    model, twin = (p.made(p.WrappedInside).eval() for _ in range(2))
    model.wrap()
    weigh, alone = (
        MetaReweighter(
            each, p.LOSS, sync="global", trusted_coefficient=1.0, weighting=GroupWeights(2)
        )
        for each in (model, twin)
    )
    for step in range(2):
        each = [p.batches_of(rank, step) for rank in range(2)]
        noisy, trusted = (
            tuple(torch.cat([batches[which][side] for batches in each]) for side in range(2))
            for which in range(2)
        )
        groups = torch.arange(2 * p.COUNT) % 2
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            alone(noisy, trusted, groups=groups).loss.backward()
        weigh(*p.batches(step), groups=groups[: p.COUNT]).loss.backward()
    for q in model.b.parameters():
        dist.all_reduce(q.grad)
        q.grad /= 2
    assert_same(p.gradient_of(model), p.gradient_of(twin), 1e-6)


def test_a_part_of_the_model_may_be_wrapped(two_ranks):
    two_ranks(part_wrapped)
