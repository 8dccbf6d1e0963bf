"""The ways to take one whole training step that are compared, by name."""

from __future__ import annotations

import copy
from collections.abc import Callable
from importlib import import_module
from typing import Any, Literal

import torch
from torch.profiler import record_function

from benchmarks.meta_step.ideas import IDEAS
from benchmarks.meta_step.peers import weighted_step
from benchmarks.meta_step.problem import Cycle, Problem, Step
from reweight import GradientSimilarity, LastLayerGradient, MetaReweighter

Builder = Callable[[Problem], Step]


def _plain(problem: Problem) -> Step:
    return lambda: problem.descend(problem.losses(problem.model, problem.noisy).mean())


def _floor(problem: Problem) -> Step:
    """Plain, and the trusted gradient, unused: what all that asks a trusted batch has to pay."""
    parameters = problem.trainable

    def step() -> None:
        with record_function("trusted gradient"):
            trusted = problem.losses(problem.model, problem.trusted).mean()
            torch.autograd.grad(trusted, parameters, allow_unused=True)
        problem.descend(problem.losses(problem.model, problem.noisy).mean())

    return step


def _ours(**options: Any) -> Builder:
    def build(problem: Problem) -> Step:
        # A scorer remembers what its model is like: each problem has one of its own.
        own = copy.deepcopy(options)
        reweighter = MetaReweighter(problem.model, problem.loss, **own)  # type: ignore[arg-type]

        def step() -> None:
            with record_function("scores and training forward"), problem.autocast():
                loss = reweighter(problem.noisy, problem.trusted).loss
            problem.descend(loss)

        return step

    return build


def _fast(problem: Problem) -> Step:
    """Some steps renew the trusted gradient, at least one in a cycle; all between count."""
    scorer = GradientSimilarity.fast()
    return Cycle(_ours(scorer=scorer)(problem), scorer.renew_every)


def _similarity(
    method: Literal["finite_difference", "double_backward", "unrolled", "layer_products"],
) -> Builder:
    return _ours(scorer=GradientSimilarity(method))


def _peer(file: str) -> Builder:
    def build(problem: Problem) -> Step:
        # Imported when asked for: its package may be missing, which is then that method's error.
        scorer = import_module(f"benchmarks.meta_step.peers.{file}").scorer
        return weighted_step(problem, scorer(problem))

    return build


ALWAYS = ("plain", "floor")
"""What the others are measured against."""

OURS: dict[str, Builder] = {
    "plain": _plain,
    "floor": _floor,
    "default": _ours(),
    "default+trusted": _ours(trusted_coefficient=1.0),
    "last-layer": _ours(scorer=LastLayerGradient()),
    "similarity": _ours(scorer=GradientSimilarity()),
    "similarity-fast": _fast,
    "similarity-element": _ours(scorer=GradientSimilarity(), granularity="element"),
    "similarity-finite-difference": _similarity("finite_difference"),
    "similarity-double-backward": _similarity("double_backward"),
    "similarity-unrolled": _similarity("unrolled"),
    "layer-products": _similarity("layer_products"),
    "training-precision": _ours(precision="training"),
    "compiled": _ours(compile=True),
}
PEERS: dict[str, Builder] = {
    "l2r": _peer("l2r"),
    "higher": _peer("higher_innerloop"),
    "torchopt-metasgd": _peer("torchopt_metasgd"),
    "betty": _peer("betty_engine"),
    "vmap": _peer("vmapped"),
}
DEFAULT = tuple(name for name in (*OURS, *PEERS) if name != "compiled")
"""What is measured where nothing is asked for.

Once anything is compiled in a process no training pass is followed in it: the others would be
measured in another way than they go.
"""

SETTLING = tuple(name for name in OURS if name not in ALWAYS)
"""Those that look, and prove their derivatives, at first, and may try one way after another."""

SETTLED_AFTER = 9
"""Steps after which they stay with what they have found."""

METHODS: dict[str, Builder] = {**OURS, **PEERS, **IDEAS}
"""By name, in the order of the table. A step is run many times on the same problem."""


def settled(name: str, problem: Problem) -> Step:
    """Return the step of a method, with what it does in its first steps alone behind it."""
    step = METHODS[name](problem)
    for _ in range(SETTLED_AFTER if name in SETTLING else 0):
        step()
    return step
