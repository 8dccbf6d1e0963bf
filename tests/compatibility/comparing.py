"""Scores of a training step and of `score()`, against one plain backward pass a sample."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from reweight import MetaReweighter
from tests import oracle
from tests.comparing import assert_same


@dataclass
class Tried:
    """A model of others, two batches, and the name of its last layer."""

    model: nn.Module
    losses: Callable[[nn.Module, Any], Tensor]
    noisy: Any
    trusted: Any
    last: str | None  # None where the norms are not looked at


def exact(tried: Tried, tolerance: float = 1e-6) -> list[str]:
    """Hold the default scores against plain autograd; return what the library warned of."""
    model, batches = tried.model, (tried.noisy, tried.trusted)
    similarity = oracle.gradient_similarity(model, tried.losses, *batches)
    norms = None
    if tried.last is not None:
        norms = oracle.last_layer_norms(model, tried.losses, tried.noisy, tried.last)
    assert similarity.abs().max() > 0
    before = {name: (id(p), p.detach().clone()) for name, p in named(model)}
    reweighter = MetaReweighter(model, forward=tried.losses)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scored = reweighter.score(*batches)
        trained = reweighter(*batches)
    for step in (scored, trained):
        assert_same(step.scores["gradient_similarity"], similarity, tolerance)
        if norms is not None:
            assert_same(step.scores["last_layer_gradient"], norms, tolerance)
    for name, p in named(model):
        assert id(p) == before[name][0], f"{name} is another parameter than before"
        assert torch.equal(p, before[name][1]), f"{name} has changed"
    trained.loss.backward()
    for name, p in named(model):
        assert p.grad is None or p.grad.isfinite().all(), name
    return [str(w.message) for w in caught if "reweight" in w.filename or "Gradient" in str(w)]


def named(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return list(model.named_parameters(remove_duplicate=False))
