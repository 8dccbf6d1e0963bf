"""What ranks remember of labels is one thing, and what one process would with the joint batch."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from reweight import GradientSimilarity, MendedLabels, MetaReweighter, SoftLabels
from tests.comparing import assert_same
from tests.distributed.problems import CLASSES, COUNT, LOSS, SIDE, Plain

STEPS = 3
# The second rank's batch is one shorter, one of its rows is the first's too.
IDS = [torch.tensor(ids, device="cpu") for ids in ([0, 1, 2, 3, 4, 5], [6, 7, 2, 9, 10])]


def batches():
    torch.manual_seed(5)
    x, y = torch.randn(11, SIDE).double(), torch.randint(CLASSES, (11,))
    x[8], y[8] = x[2], y[2]
    y[[1, 9]] = -100
    trusted = torch.randn(COUNT, SIDE).double(), torch.randint(CLASSES, (COUNT,))
    return [(x[:6], y[:6]), (x[6:], y[6:])], (x, y), trusted


MAKE = {"soft": SoftLabels, "mended": MendedLabels}


def trained(model, noisy, trusted, ids, kind, sync):
    labels = MAKE[kind](11, CLASSES)
    weigh = MetaReweighter(model, LOSS, scorer=GradientSimilarity(), labels=labels, sync=sync)
    for _ in range(STEPS):
        step = weigh(noisy, trusted, ids=ids)
        model.zero_grad()
        step.loss.backward()
    gradients = torch.cat([p.grad.flatten() for p in model.parameters()])
    return labels.probabilities, labels.suggested, gradients


def on_a_rank(kind, sync):
    rank = torch.distributed.get_rank()
    torch.manual_seed(3)
    model = DistributedDataParallel(Plain().double())
    apart, _, trusted = batches()
    return trained(model, apart[rank], trusted, IDS[rank], kind, sync)


@pytest.mark.parametrize("sync", ["local", "global"])
@pytest.mark.parametrize("kind", MAKE)
def test_ranks_remember_the_same_labels_as_one_process(two_ranks, kind, sync):
    found = two_ranks(on_a_rank, kind, sync)
    torch.manual_seed(3)
    model: nn.Module = Plain().double()
    _, joint, trusted = batches()
    probabilities, suggested, gradients = trained(
        model, joint, trusted, torch.cat(IDS), kind, "local"
    )
    for own, likeliest, gradient in found:
        assert_same(own, probabilities, 1e-6)
        assert torch.equal(likeliest, suggested)
        if sync == "global":
            assert_same(gradient, gradients, 1e-5)


def joint_scores(model, noisy, trusted):
    seen = []

    def weighting(context):
        seen.append(context.label_scores)
        return torch.ones_like(context.losses)

    weigh = MetaReweighter(
        model,
        LOSS,
        scorer=GradientSimilarity(),
        weighting=weighting,
        label_scores=True,
        sync="global",
    )
    weigh(noisy, trusted).loss.backward()
    return seen[0]


def scores_on_a_rank():
    torch.manual_seed(3)
    model = DistributedDataParallel(Plain().double())
    apart, _, trusted = batches()
    return joint_scores(model, apart[torch.distributed.get_rank()], trusted)


def test_a_weighting_of_all_ranks_is_told_the_label_scores_of_all(two_ranks):
    found = two_ranks(scores_on_a_rank)
    torch.manual_seed(3)
    model = Plain().double()
    _, joint, trusted = batches()
    expected = joint_scores(model, joint, trusted)
    for own in found:
        assert_same(own, expected, 1e-9)
