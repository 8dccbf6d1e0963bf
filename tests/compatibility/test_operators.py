"""Operators without a derivative of some kind: exact all the same, and by which way."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reweight import GradientSimilarity, MetaReweighter
from tests.derivative import test_an_exact_way as exact
from tests.derivative import test_no_fallback_on_trust as trust
from tests.problems import float64

WAYS = {
    "exact": "followed beside the training pass",
    "exact, by forward mode": "forward mode, in a pass of its own",
    "exact, by double backward": "double backward",
    "exact, one backward pass a sample": "one backward pass a sample",
}
BESIDE, FORWARD, DOUBLE, SAMPLES = WAYS
NEITHER = "no forward-mode rule and no second derivative"
NESTED = "PyTorch has no forward mode within forward mode"
UNSEEN = "it computes where operators are not seen"


@dataclass(frozen=True)
class Operator:
    what: str
    result: str
    note: str = ""
    area: str = "operator"


OPERATORS = {
    "bag": Operator("EmbeddingBag, mean", SAMPLES, NEITHER),
    "bag_of_maxima": Operator("EmbeddingBag, max", SAMPLES, NEITHER),
    "bag_sparse": Operator("EmbeddingBag with sparse gradients", SAMPLES, NEITHER),
    "ctc": Operator("CTC loss", SAMPLES, NEITHER),
    "hardest_triplets": Operator("Triplets mined by cdist", SAMPLES, NEITHER),
    "margins": Operator("MultiMarginLoss", SAMPLES, NEITHER),
    "margins_of_several_labels": Operator("MultiLabelMarginLoss", SAMPLES, NEITHER),
    "distances": Operator("pdist", SAMPLES, NEITHER),
    "sparse_graph": Operator("Products with a sparse matrix (COO)", BESIDE),
    "sparse_csr_graph": Operator(
        "Products with a sparse matrix (CSR)", DOUBLE, "no forward-mode rule"
    ),
    "jagged": Operator("Nested tensors, jagged", SAMPLES, NEITHER),
    "mean_flow": Operator("torch.func.jvp in the loss, its target detached", DOUBLE, NESTED),
    "forward_mode_in_the_model": Operator("torch.func.jvp in the loss", DOUBLE, NESTED),
    "hessians": Operator("vmap(hessian) in the loss", DOUBLE, NESTED),
    "jacobians_of_jacobians": Operator("vmap(jacrev(jacrev)) in the loss", FORWARD, UNSEEN),
    "conditional": Operator("torch.cond", FORWARD, "it is compiled"),
    "scripted": Operator("TorchScript, the whole model scripted", FORWARD, UNSEEN, "wrapper"),
    "scripted_part": Operator("TorchScript, a part scripted", FORWARD, UNSEEN, "wrapper"),
    "traced": Operator("TorchScript, traced", FORWARD, UNSEEN, "wrapper"),
    "opaque_kernel": Operator(
        "A kernel of one's own, its backward pass without a graph", SAMPLES, NEITHER
    ),
}
FUNCTIONS = {
    "Once": Operator("autograd.Function, once_differentiable", SAMPLES, NEITHER),
    "Buffer": Operator("autograd.Function that fills a buffer (Triton, CUDA)", SAMPLES, NEITHER),
    "Numpy": Operator("autograd.Function by NumPy", SAMPLES, NEITHER),
    "Detached": Operator("autograd.Function that detaches its gradient", SAMPLES, NEITHER),
    "Kept": Operator("autograd.Function, twice differentiable", DOUBLE, "no forward-mode rule"),
    "WrongJvp": Operator(
        "autograd.Function with a wrong jvp", DOUBLE, "found out, for it does not add up"
    ),
}
SAMPLES_OF = {
    trust.beta: Operator("Beta, rsample", SAMPLES, "PyTorch loses a second derivative"),
    trust.dirichlet: Operator("Dirichlet, rsample", SAMPLES, "PyTorch loses a second derivative"),
    trust.gamma: Operator("Gamma, rsample", DOUBLE, "no forward-mode rule"),
}


def function(name: str) -> Any:
    with float64():
        model = trust.Net(trust.FUNCTIONS[name].apply, residual=True)
        return model, trust.cross_entropy, trust.data(5), trust.data(4)


def samples(losses: Callable[[nn.Module, Any], Tensor]) -> Any:
    with float64():
        return nn.Linear(6, 3), losses, trust.data(5), trust.data(4)


def tried() -> list[Any]:
    made = [(exact.PROBLEMS[name], name, row) for name, row in OPERATORS.items()]
    made += [
        (lambda name=name: function(name), f"function_{name}", row)
        for name, row in FUNCTIONS.items()
    ]
    made += [
        (lambda losses=losses: samples(losses), losses.__name__, row)
        for losses, row in SAMPLES_OF.items()
    ]
    return [
        pytest.param(
            make,
            row.result,
            id=name,
            marks=pytest.mark.compatibility(row.area, row.what, row.result, row.note),
        )
        for make, name, row in made
    ]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("make", "result"), tried())
def test_scores_are_exact_by_the_way_that_the_page_names(make, result):
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()
    model, forward, noisy, trusted = make()
    with float64():
        weigh = MetaReweighter(model, forward=forward, scorer=GradientSimilarity())
        step, score = weigh.check(noisy, trusted).scorers
    assert step.agrees, step
    assert score.agrees, score
    assert step.way == WAYS[result], step.reason
