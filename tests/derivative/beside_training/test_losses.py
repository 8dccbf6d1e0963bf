"""Losses, in closed form."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from reweight._derivative.beside_training import cross_entropy
from tests.derivative.beside_training.observing import observe
from tests.derivative.beside_training.ruling import ruled
from tests.derivative.beside_training.test_rules import f64, rand

REDUCTIONS = ["none", "mean", "sum"]
N, K = 4, 5
WEIGHT = torch.tensor([0.5, 1.0, 2.0, 0.0, 1.5], dtype=f64)
OPTIONS = {
    "plain": {},
    "weighted": {"weight": WEIGHT},
    "one ignored": {"ignore_index": 2},
    "the usual one ignored": {"weight": WEIGHT},
    "weighted, one ignored": {"weight": WEIGHT, "ignore_index": 2},
}
SMOOTHED = [{}, {"label_smoothing": 0.3}]
SHAPES = {
    "rows": ((N, K), (N,)),
    "one": ((K,), ()),
    "tokens": ((N, K, 3), (N, 3)),
    "pixels": ((2, K, 2, 3), (2, 2, 3)),
}


@pytest.fixture(params=[2**18, 7, 1], ids=["whole", "pieces", "smallest pieces"])
def room(request, monkeypatch):
    """How many probabilities are computed at a time."""
    for name in ("_ROOM", "_ROOM_ON_DEVICES"):
        monkeypatch.setattr(cross_entropy, name, request.param)


def labels(shape: tuple[int, ...], name: str) -> Tensor:
    found = torch.arange(max(1, torch.Size(shape).numel())).remainder(K).reshape(shape)
    if "usual" in name and shape:
        found.view(-1)[1] = -100
    return found


@pytest.mark.usefixtures("room")
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", SMOOTHED, ids=["sharp", "smoothed"])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_cross_entropy_of_labels(shape, options, smoothing, reduction):
    side, target = SHAPES[shape]
    given = {**OPTIONS[options], **smoothing, "reduction": reduction}
    y = labels(target, options)
    observe(lambda z: F.cross_entropy(z, y, **given), rand(*side), tolerance=1e-10)
    if side[1:]:  # classes last in memory, as a language model has them
        order = (0, *range(2, len(side)), 1)
        ruled(
            lambda z: F.cross_entropy(z.movedim(-1, 1), y, **given),
            rand(*side).permute(order).contiguous(),
        )
    else:
        ruled(lambda z: F.cross_entropy(z, y, **given), rand(*side))


@pytest.mark.usefixtures("room")
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", SMOOTHED, ids=["sharp", "smoothed"])
@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("shape", SHAPES)
def test_cross_entropy_of_probabilities(shape, weight, smoothing, reduction):
    side, _ = SHAPES[shape]
    target = rand(*side, seed=3).softmax(0 if len(side) == 1 else 1)
    given = {"weight": weight, "reduction": reduction, **smoothing}
    ruled(lambda z: F.cross_entropy(z, target, **given), rand(*side))


@pytest.mark.usefixtures("room")
def test_tokens_shifted_by_one():
    words = torch.arange(2 * 4).remainder(K).view(2, 4)

    def program(z: Tensor) -> Tensor:
        return F.cross_entropy(z[:, :-1].transpose(1, 2), words[:, 1:], reduction="none")

    ruled(program, rand(2, 4, K))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_negative_log_likelihood(shape, options, reduction):
    side, target = SHAPES[shape]
    y, given = labels(target, options), {**OPTIONS[options], "reduction": reduction}
    ruled(lambda x: F.nll_loss(x, y, **given), rand(*side))
    ruled(lambda x: F.nll_loss(F.log_softmax(x, -1), y, **given), rand(*side))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(
    "loss",
    [
        F.mse_loss,
        F.l1_loss,
        F.smooth_l1_loss,
        lambda x, t, **o: F.smooth_l1_loss(x, t, beta=0.2, **o),
        lambda x, t, **o: F.smooth_l1_loss(x, t, beta=0.0, **o),
        F.huber_loss,
        lambda x, t, **o: F.huber_loss(x, t, delta=0.4, **o),
    ],
)
def test_distances(loss, reduction):
    t = rand(3, 4, seed=1)
    ruled(lambda x: loss(x, t, reduction=reduction), rand(3, 4))
    ruled(lambda x, y: loss(x, y, reduction=reduction), rand(3, 4), t)
    ruled(lambda y: loss(t, y, reduction=reduction), rand(3, 4))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weight": rand(3, 4, seed=4).abs()},
        {"weight": rand(4, seed=4).abs()},
        {"pos_weight": rand(4, seed=5).abs()},
        {"weight": rand(3, 1, seed=4).abs(), "pos_weight": rand(4, seed=5).abs()},
    ],
)
def test_binary_cross_entropies(options, reduction):
    t = rand(3, 4, seed=1).sigmoid()
    given = {**options, "reduction": reduction}
    ruled(lambda x: F.binary_cross_entropy_with_logits(x, t, **given), rand(3, 4) * 3)
    if "pos_weight" not in given:
        broadcast = given.get("weight") is not None and given["weight"].shape != t.shape
        ruled(
            lambda x: F.binary_cross_entropy(x.sigmoid(), t, **given),
            rand(3, 4),
            expect_rerun=broadcast,
        )


def test_what_moves_besides_is_left_to_a_second_run():
    t = rand(3, 4, seed=1).sigmoid()
    for call in (
        lambda x: F.binary_cross_entropy_with_logits(x, x.sigmoid(), reduction="none"),
        lambda x: F.cross_entropy(x, x.softmax(1), reduction="none"),
        lambda x: F.mse_loss(x, t[:1].expand(3, 4), weight=t, reduction="mean"),
        lambda x: F.mse_loss(x, t, reduce=False),
    ):
        observe(call, rand(3, 4))


def test_in_single_precision():
    z, y = rand(6, 50, dtype=torch.float32) * 4, torch.arange(6)
    observe(lambda z: F.cross_entropy(z, y, reduction="none"), z, tolerance=1e-6)
