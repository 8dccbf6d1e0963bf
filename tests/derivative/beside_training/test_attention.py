"""Scaled dot-product attention."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from reweight._derivative.beside_training import TangentMode, attention
from tests.comparing import assert_same
from tests.derivative.beside_training.observing import observe_module
from tests.derivative.beside_training.ruling import reruns, ruled
from tests.derivative.beside_training.test_rules import f64, rand

attend = F.scaled_dot_product_attention
SHAPE = (2, 4, 5, 3)
SEEN = torch.ones(5, 5, dtype=torch.bool).tril()


@pytest.fixture(params=[2**19, 12, 1], ids=["whole", "small blocks", "smallest blocks"])
def room(request, monkeypatch):
    """How many weights are computed at a time."""
    for name in ("_ROOM", "_ROOM_ON_DEVICES"):
        monkeypatch.setattr(attention, name, request.param)
    monkeypatch.setattr(attention, "_FEWEST_QUERIES", 2)


@pytest.mark.usefixtures("room")
@pytest.mark.parametrize(
    "call",
    [
        lambda q, k, v: attend(q, k, v),
        lambda q, k, v: attend(query=q, key=k, value=v, is_causal=True),
        lambda q, k, v: attend(q, k, v, None, 0.0, True, scale=0.3),
        lambda q, k, v: attend(q, k, v, SEEN),
        lambda q, k, v: attend(q, k, v, attn_mask=SEEN.expand(2, 1, 5, 5)),
        lambda q, k, v: attend(q, k, v, attn_mask=rand(4, 5, 5)),
        lambda q, k, v: attend(q, k, v, attn_mask=q @ k.mT + rand(1, 1, 1, 5)),
        lambda q, k, v: attend(q, k, v, attn_mask=v.mean((1, 3))[:, None, None]),
        lambda q, k, v: attend(q[0], k[0], v[0]) + attend(q[1], k[1], v[1], is_causal=True),
        lambda q, k, v: attend(q[0, 0], k[0, 0], v[0, 0], SEEN) + v[1],
        lambda q, k, v: attend(q[:, :, :2], k, v[..., :2]),
        lambda q, k, v: attend(q, k[:, :, :2], v[:, :, :2]) + k.sum(-1, keepdim=True),
        lambda q, k, v: attend(q, k[:, :2], v[:, :2], enable_gqa=True, is_causal=True),
        lambda q, k, v: attend(q, k[:, :1], v[:, :1], SEEN, enable_gqa=True),
        lambda q, k, v: attend(
            *(x.reshape(2, 5, 4, 3).transpose(1, 2) for x in (q, k, v)), is_causal=True
        ),
    ],
)
def test_forms(call):
    ruled(call, *(rand(*SHAPE, seed=seed) for seed in range(3)))


@pytest.mark.usefixtures("room")
@pytest.mark.parametrize("moving", ["q", "k", "v", "m", "qk", "qv", "km", "vm", "qkvm"])
def test_whatever_moves(moving):
    given = dict(zip("qkv", (rand(*SHAPE, seed=seed) for seed in range(3)), strict=True))
    given["m"] = rand(2, 1, 5, 5, seed=4)

    def program(*moved: Tensor) -> Tensor:
        now = {**given, **dict(zip(moving, moved, strict=True))}
        return attend(now["q"], now["k"], now["v"], attn_mask=now["m"])

    ruled(program, *(given[part] for part in moving))


def test_what_sees_no_key_does_not_move():
    hidden = SEEN.clone()
    hidden[2] = False
    ruled(lambda q, v: attend(q, q, v, attn_mask=hidden), rand(*SHAPE), rand(*SHAPE, seed=1))


@pytest.mark.usefixtures("room")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"is_causal": True},
        {"scale": 0.3, "attn_mask": SEEN},
        {"attn_mask": rand(4, 5, 5)},
        {"dropout_p": 1.0},
    ],
)
def test_dropout_by_the_mask_that_is_kept(options):
    q, k, v = (rand(*SHAPE, seed=seed) for seed in range(3))
    options = {"dropout_p": 0.4, **options}
    ruled(lambda q, k, v: attend(q, k, v, **options) + q, q, k, v)
    ruled(lambda q, k, v: attend(q, k[:, :2], v[:, :2], enable_gqa=True, **options) + q, q, k, v)


def test_dropout_of_what_is_not_kept_is_left_to_a_second_run():
    q, k, v = (rand(*SHAPE, seed=seed) for seed in range(3))
    ruled(lambda v: attend(q, k, v, dropout_p=0.4), v, expect_rerun=True)

    def under_hooks(q: Tensor) -> Tensor:
        with torch.autograd.graph.saved_tensors_hooks(torch.clone, lambda x: x):
            return attend(q, k, v, dropout_p=0.4)

    ruled(under_hooks, q, expect_rerun=True)


def test_without_a_fused_kernel_the_weights_are_read():
    q, k, v = (rand(*SHAPE, seed=seed) for seed in range(3))

    def program(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with sdpa_kernel(SDPBackend.MATH):
            return attend(q, k, v, is_causal=True) + attend(q, k, v, SEEN)

    ruled(program, q, k, v)


@pytest.mark.parametrize("heads", [1, 3])
def test_no_block_holds_all_weights_of_many_tokens(heads):
    """Every block is of no more than a part of the tokens², and no query is left out."""
    for device in ("cpu", "cuda"):
        blocks = list(
            attention._blocks(2, heads, 4096, 4096, causal=False, device=torch.device(device))
        )
        sizes = [
            (b.queries.stop - b.queries.start)
            * (b.keys.stop - b.keys.start)
            * (min(b.heads[0].stop, 2) - b.heads[0].start)
            * (min(b.heads[1].stop, heads) - b.heads[1].start)
            for b in blocks
        ]
        assert max(sizes) <= 4096**2 / 2
        assert sum(sizes) == 2 * heads * 4096**2


@pytest.mark.parametrize("options", [{"need_weights": False}, {}, {"average_attn_weights": False}])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_multi_head_attention_is_followed_inside(dropout, options):
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.MultiheadAttention(4, 2, dropout=dropout, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            out, weights = self.layer(x, x[:, :2], x[:, :2], **options)
            return out if weights is None else torch.cat([out.flatten(), weights.flatten()])

    with reruns() as found:
        observe_module(Model, rand(2, 3, 4), tolerance=1e-10)
    assert not found


def test_an_encoder_of_pytorchs_own_has_rules_for_all_it_does():
    def make() -> nn.Module:
        layer = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.2, activation="gelu")
        return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    with reruns() as found:
        observe_module(make, rand(3, 2, 4), tolerance=1e-10)
    assert not found


def test_in_single_precision_as_in_double():
    q, k, v = (rand(2, 3, 70, 8, seed=seed) for seed in range(3))
    found = []
    for dtype in (torch.float32, f64):
        leaves = [x.to(dtype).requires_grad_() for x in (q, k, v)]
        with TangentMode([(x, x.detach().flip(2)) for x in leaves]) as mode:
            out = attend(*leaves, is_causal=True)
        found.append(mode.tangent_of(out))
    assert_same(found[0], found[1], 1e-5)
