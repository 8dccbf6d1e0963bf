"""Scaled dot-product attention, its tangent in blocks of queries.

The training pass keeps its fused kernel. Beside it, with P = softmax(s Q Kᵀ + M) and
Ṡ = s (Q̇ Kᵀ + Q K̇ᵀ) + Ṁ, the tangent of O = P V is (P ∘ Ṡ) V + P V̇ − (Σ P ∘ Ṡ) O, the sum over the
keys of each query. No block holds more of P than ``_ROOM`` numbers, whatever the number of tokens.
Where the pass itself had no fused kernel, as for dropout on a CPU, the graph keeps P and the mask.
A fused kernel that drops weights draws its mask in pieces that are never kept: the pass uses the
one kernel of which the mask can be drawn again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from reweight._derivative.beside_training.call import Call
from reweight._derivative.beside_training.saved_tensors import may_be_read
from reweight._torch_internals import attention_dropout, attention_weights, safe_softmax

# Small enough to stay in a processor's cache; a GPU wants more to do at a time.
_ROOM, _ROOM_ON_DEVICES = 2**19, 2**23
_FEWEST_QUERIES = 64


def draws_dropout(call: Call) -> bool:
    """Whether random numbers are drawn, and kept only where there is no fused kernel."""
    return bool(_given(call)["dropout_p"] != 0)


def attention(call: Call) -> Tensor | None:
    """``F.scaled_dot_product_attention``, with dropout where its mask is kept."""
    given = _given(call)
    query, key, value, mask = (given[name] for name in ("query", "key", "value", "attn_mask"))
    if not 2 <= query.dim() <= 4 or query.is_nested:
        return None
    queries, keys = query.shape[-2], key.shape[-2]
    kept = attention_weights(call.out.grad_fn) if may_be_read() else None
    weights, dropped = kept or (None, None)
    if given["dropout_p"] != 0 and dropped is None and may_be_read() and call.out.dim() == 4:
        dropped = attention_dropout(call.out.grad_fn, call.out, queries, keys)
    if given["dropout_p"] != 0 and dropped is None:
        return None
    groups = query.shape[-3] // key.shape[-3] if given["enable_gqa"] else 1

    def in_four(x: Tensor | None) -> Tensor | None:
        return None if x is None else x[(None,) * (4 - x.dim())]

    def of_keys(x: Tensor | None) -> Tensor | None:
        return in_four(x if x is None or groups == 1 else x.repeat_interleave(groups, -3))

    dq, dk, dv, dmask = (call.tangent(x) for x in (query, key, value, mask))
    out = in_four(call.out)
    assert out is not None
    samples, heads = out.shape[:2]
    inputs = _Inputs(
        {
            name: x.to(out.dtype).expand(samples, heads, -1, -1)
            for name, x in {
                "q": in_four(query),
                "dq": in_four(dq),
                "k": of_keys(key),
                "dk": of_keys(dk),
                "v": of_keys(value),
                "dv": of_keys(dv),
                "out": out,
            }.items()
            if x is not None
        },
        {
            name: x.expand(samples, heads, queries, keys)
            for name, x in {
                "mask": in_four(mask if kept is None else None),
                "dmask": in_four(dmask),
                "weights": in_four(weights),
                "dropped": in_four(dropped),
            }.items()
            if x is not None
        },
        1 / math.sqrt(query.shape[-1]) if given["scale"] is None else given["scale"],
    )
    tangent = torch.empty_like(out)
    # Autocast has chosen the type already; in place it would mix types.
    with torch.autocast(query.device.type, enabled=False):
        for block in _blocks(samples, heads, queries, keys, given["is_causal"], query.device):
            part = tangent[block.of_queries]
            part.copy_(_of_block(block, inputs).view(part.shape))
    return tangent.view(call.out.shape)


@dataclass(frozen=True, slots=True)
class _Inputs:
    """What attention was given and their tangents, those there are, in four dimensions."""

    vectors: dict[str, Tensor]
    masks: dict[str, Tensor]
    scale: float


def _given(call: Call) -> dict[str, Any]:
    return call.given(
        "query",
        "key",
        "value",
        "attn_mask",
        "dropout_p",
        "is_causal",
        "scale",
        "enable_gqa",
        dropout_p=0.0,
        is_causal=False,
        enable_gqa=False,
    )


@dataclass(frozen=True, slots=True)
class _Block:
    """Some queries of some heads, and the keys that they may look at."""

    heads: tuple[slice, slice]
    queries: slice
    keys: slice
    causal: bool

    @property
    def of_queries(self) -> tuple[slice, ...]:
        return (*self.heads, self.queries)


def _blocks(
    n: int, heads: int, queries: int, keys: int, causal: bool, device: torch.device
) -> Iterator[_Block]:
    room = _ROOM if device.type == "cpu" else _ROOM_ON_DEVICES
    rows = min(queries, max(_FEWEST_QUERIES, room // max(keys, 1)))
    at_once = max(1, room // max(rows * keys, 1))
    some_heads = min(heads, at_once)
    samples = max(1, min(n, at_once // max(heads, 1)))
    for i in range(0, n, samples):
        for j in range(0, heads, some_heads):
            for first in range(0, queries, rows):
                last = min(first + rows, queries)
                yield _Block(
                    (slice(i, i + samples), slice(j, j + some_heads)),
                    slice(first, last),
                    slice(0, min(last, keys) if causal else keys),
                    causal,
                )


def _of_block(block: _Block, inputs: _Inputs) -> Tensor:
    def of_queries(name: str) -> Tensor | None:
        return _three(inputs.vectors.get(name), block.of_queries)

    def of_keys(name: str) -> Tensor | None:
        return _three(inputs.vectors.get(name), (*block.heads, block.keys))

    def of_both(name: str) -> Tensor | None:
        return _three(inputs.masks.get(name), (*block.of_queries, block.keys))

    q, k, v, out = of_queries("q"), of_keys("k"), of_keys("v"), of_queries("out")
    assert q is not None and k is not None and v is not None and out is not None  # noqa: PT018
    dq, dk, dv = of_queries("dq"), of_keys("dk"), of_keys("dv")
    q = q * inputs.scale
    dq = None if dq is None else dq * inputs.scale
    weights, dropped = of_both("weights"), of_both("dropped")
    if weights is None:
        weights = _softmax(torch.bmm(q, k.mT), of_both("mask"), block)
    tangent: Tensor | None = None
    moved = _moved_scores(q, k, dq, dk, of_both("dmask"))
    if moved is not None:
        moved.mul_(weights)
        total = moved.sum(-1, keepdim=True)
        if dropped is not None:
            moved.addcmul_(weights, total, value=-1).mul_(dropped)
        tangent = torch.bmm(moved, v)
        if dropped is None:
            tangent.addcmul_(total, out, value=-1)
    if dv is not None and dropped is not None:
        weights = weights * dropped
    if dv is not None:
        tangent = torch.bmm(weights, dv) if tangent is None else tangent.baddbmm_(weights, dv)
    assert tangent is not None
    return tangent


def _three(x: Tensor | None, where: tuple[slice, ...]) -> Tensor | None:
    return None if x is None else x[where].flatten(0, 1)


def _softmax(scores: Tensor, mask: Tensor | None, block: _Block) -> Tensor:
    if block.causal:
        first = block.queries.start
        hidden = torch.ones(scores.shape[1:], dtype=torch.bool, device=scores.device)
        scores.masked_fill_(hidden.triu_(first + 1), -math.inf)
    if mask is None:
        return scores.softmax(-1)
    if mask.dtype == torch.bool:
        scores.masked_fill_(~mask, -math.inf)
    else:
        scores.add_(mask)
    return safe_softmax(scores, -1)  # 0 where a query sees no key


def _moved_scores(
    q: Tensor, k: Tensor, dq: Tensor | None, dk: Tensor | None, dmask: Tensor | None
) -> Tensor | None:
    moved = None if dq is None else torch.bmm(dq, k.mT)
    if dk is not None:
        moved = torch.bmm(q, dk.mT) if moved is None else moved.baddbmm_(q, dk.mT)
    if dmask is not None:
        moved = dmask.clone() if moved is None else moved.add_(dmask)
    return moved
