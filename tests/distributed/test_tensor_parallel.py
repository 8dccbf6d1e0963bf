"""Tensor parallelism: parameters are ``DTensor``, and every rank sees the same batch."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torchopt
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)

from reweight import (
    GradientSimilarity,
    LastLayerGradient,
    LossMagnitude,
    MetaReweighter,
    RandomWeights,
    Uniform,
)
from tests.comparing import assert_same
from tests.distributed import problems as p


class TwoLayers(nn.Sequential):
    last = "2"

    def __init__(self) -> None:
        super().__init__(nn.Linear(p.SIDE, 8), nn.Tanh(), nn.Linear(8, 4))


class ThreeLayers(nn.Sequential):
    """The normalisation and the last layer are held whole by every rank."""

    last = "4"

    def __init__(self) -> None:
        super().__init__(
            nn.Linear(p.SIDE, 8), nn.Tanh(), nn.Linear(8, 6), nn.BatchNorm1d(6), nn.Linear(6, 4)
        )


class Sequence(nn.Sequential):
    last = "4"

    def __init__(self) -> None:
        super().__init__(
            nn.Linear(p.SIDE, 8), nn.Tanh(), nn.Linear(8, 6), nn.LayerNorm(6), nn.Linear(6, 4)
        )


def rows_after_columns(model: nn.Module) -> nn.Module:
    return parallelize_module(
        model, init_device_mesh("cpu", (2,)), {"0": ColwiseParallel(), "2": RowwiseParallel()}
    )


def columns_last(model: nn.Module) -> nn.Module:
    """As a language model's head is: its output is gathered."""
    return parallelize_module(
        model,
        init_device_mesh("cpu", (2,)),
        {
            "0": RowwiseParallel(input_layouts=Replicate()),
            "2": ColwiseParallel(output_layouts=Replicate()),
        },
    )


def spread_output(model: nn.Module) -> nn.Module:
    """The output stays a DTensor."""
    return parallelize_module(
        model,
        init_device_mesh("cpu", (2,)),
        {"0": ColwiseParallel(), "2": RowwiseParallel(use_local_output=False)},
    )


def by_sequence(model: nn.Module) -> nn.Module:
    """The normalisation is of a part of the rows on each rank."""
    return parallelize_module(
        model,
        init_device_mesh("cpu", (2,)),
        {
            "0": ColwiseParallel(),
            "2": RowwiseParallel(output_layouts=Shard(0)),
            "3": SequenceParallel(sequence_dim=0),
            "4": ColwiseParallel(input_layouts=Shard(0), output_layouts=Replicate()),
        },
    )


KINDS: dict[str, tuple[Any, Any]] = {
    "rows_after_columns": (rows_after_columns, TwoLayers),
    "columns_last": (columns_last, TwoLayers),
    "spread_output": (spread_output, TwoLayers),
    "by_sequence": (by_sequence, Sequence),
    "in_part": (rows_after_columns, ThreeLayers),
}


def forward(model: nn.Module, batch: Any) -> Any:
    output = model(batch[0])
    if hasattr(output, "full_tensor"):
        output = output.full_tensor()
    return p.LOSS(output, batch[1])


def whole(model: nn.Module) -> torch.Tensor:
    return torch.cat(
        [
            (q.full_tensor() if hasattr(q, "full_tensor") else q).detach().flatten()
            for q in model.parameters()
        ]
    )


def whole_gradient(model: nn.Module) -> torch.Tensor:
    return torch.cat(
        [
            (q.grad.full_tensor() if hasattr(q.grad, "full_tensor") else q.grad).flatten()
            for q in model.parameters()
        ]
    )


def train(kind: str, scorer: str, beta: float) -> None:
    parallelise, model_kind = KINDS[kind]
    twin = p.made(model_kind)
    model = parallelise(copy.deepcopy(twin))
    weigh = MetaReweighter(
        model, forward=forward, scorer=p.SCORERS[scorer](), trusted_coefficient=beta
    )
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in (model, twin)]
    for step in range(3):
        noisy, trusted = p.batches_of(0, step)
        weights = p.expected_weights(scorer, twin, p.supervised, noisy, trusted)
        gradient = p.expected_gradient(weights, beta, twin, p.supervised, noisy, trusted)
        if step == 0:
            assert_same(weigh.score(noisy, trusted).weights, weights, 1e-9)
        found = weigh(noisy, trusted)
        assert type(found.weights) is type(found.losses) is torch.Tensor
        assert_same(found.weights, weights, 1e-9)
        found.loss.backward()
        assert_same(whole_gradient(model), gradient, 1e-9)
        p.supervised(twin, noisy)  # for its buffers
        for q, part in zip(
            twin.parameters(), gradient.split([q.numel() for q in twin.parameters()]), strict=True
        ):
            q.grad = part.view_as(q)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        assert_same(whole(model), whole(twin), 1e-9)


@pytest.mark.parametrize("beta", [0.0, 1.0])
@pytest.mark.parametrize("scorer", ["default", "similarity", "last_layer", "loss"])
@pytest.mark.compatibility(
    "wrapper", "Tensor parallelism (DTensor parameters)", "exact, one backward pass a sample"
)
@pytest.mark.parametrize("kind", KINDS)
def test_every_scorer_gives_the_oracles_weights(two_ranks, kind, scorer, beta):
    two_ranks(train, kind, scorer, beta)


def scores_of(options: dict[str, Any]) -> None:
    if "lookahead" in options:
        options = {"lookahead": torchopt.adam(lr=0.1, eps_root=1e-8)}
    warnings.filterwarnings("ignore", "torch.distributed runs")  # of the twin it is true
    twin = p.made(TwoLayers)
    model = rows_after_columns(copy.deepcopy(twin))
    noisy, trusted = p.batches_of(0, 0)
    # The latter is so small that the direction is brought to unit size.
    for scale in (1.0, 1e-160):

        def scaled(model: nn.Module, batch: Any, scale: float = scale) -> Any:
            return forward(model, batch) * scale

        one, other = (
            MetaReweighter(m, forward=scaled, scorer=s).score(noisy, trusted)
            for m, s in (
                (model, GradientSimilarity(**options)),
                (twin, GradientSimilarity(**options)),
            )
        )
        name = "gradient_similarity"
        assert bool(other.scores[name].any())
        assert_same(one.scores[name], other.scores[name], 1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"method": "finite_difference"},
        {"parameters": "2.*"},
        {"lookahead": "adam"},
        {"renew_every": 2, "averaging": 0.5},
    ],
    ids=["finite_difference", "parameters", "lookahead", "renewed"],
)
def test_settings_mean_what_they_mean_without_it(two_ranks, options):
    two_ranks(scores_of, options)


def live() -> None:
    """The optimiser of the training loop as look-ahead, its state spread over the ranks too."""
    twin = p.made(TwoLayers)
    model = rows_after_columns(copy.deepcopy(twin))
    found = []
    warnings.filterwarnings("ignore", "torch.distributed runs")  # of the twin it is true
    for m in (model, twin):
        optimizer = torch.optim.AdamW(m.parameters(), lr=0.01)
        weigh = MetaReweighter(m, forward=forward, scorer=GradientSimilarity(lookahead=optimizer))
        weights = []
        for step in range(3):
            optimizer.zero_grad()
            result = weigh(*p.batches_of(0, step))
            result.loss.backward()
            optimizer.step()
            weights.append(result.weights)
        found.append(weights)
    for one, other in zip(*found, strict=True):
        assert_same(one, other, 1e-9)


def test_the_live_optimiser_may_look_ahead(two_ranks):
    two_ranks(live)


def by_layer(layer: str) -> None:
    twin = p.made(TwoLayers)
    model = rows_after_columns(copy.deepcopy(twin))
    noisy, trusted = p.batches_of(0, 0)
    one, other = (
        MetaReweighter(m, forward=forward, scorer=LastLayerGradient(layer)).score(noisy, trusted)
        for m in (model, twin)
    )
    assert_same(one.weights, other.weights, 1e-9)


@pytest.mark.parametrize("layer", ["0", "2"])
def test_any_layer_may_be_the_last(two_ranks, layer):
    two_ranks(by_layer, layer)


def by_hand() -> None:
    """Parameters spread without the hooks that parallelize_module brings."""
    twin = p.made(TwoLayers)
    model = copy.deepcopy(twin)
    mesh = init_device_mesh("cpu", (2,))
    for part, name in (
        (model[0], "weight"),
        (model[0], "bias"),
        (model[2], "weight"),
        (model[2], "bias"),
    ):
        value = getattr(part, name)
        setattr(part, name, nn.Parameter(distribute_tensor(value.detach(), mesh, [Shard(0)])))

    def run(m: nn.Module, batch: Any) -> Any:
        x = batch[0]
        if m is not twin:
            x = distribute_tensor(x, mesh, [Replicate()])
        return forward(m, (x, batch[1]))

    noisy, trusted = p.batches_of(0, 0)
    for scorer in ("default", "last_layer"):
        weights = p.expected_weights(scorer, twin, p.supervised, noisy, trusted)
        weigh = MetaReweighter(model, forward=run, scorer=p.SCORERS[scorer]())
        assert_same(weigh.score(noisy, trusted).weights, weights, 1e-9)
        assert_same(weigh(noisy, trusted).weights, weights, 1e-9)


def test_parameters_may_be_spread_by_hand(two_ranks):
    two_ranks(by_hand)


def refusals() -> None:
    model = rows_after_columns(p.made(TwoLayers))
    noisy, trusted = p.batches_of(0, 0)

    def own(context: Any) -> Any:
        return context.directional_derivative(context.trusted_gradient(), "forward")

    with pytest.raises(ValueError, match="finite_difference"):
        MetaReweighter(model, p.LOSS, scorer=own)(noisy, trusted)
    for method in ("forward", "double_backward", "unrolled"):
        with pytest.raises(ValueError, match="finite_difference"):
            MetaReweighter(model, p.LOSS, scorer=GradientSimilarity(method))
        later = p.made(TwoLayers)
        weigh = MetaReweighter(later, p.LOSS, scorer=GradientSimilarity(method))
        rows_after_columns(later)
        with pytest.raises(ValueError, match="finite_difference"):
            weigh(noisy, trusted)
    with pytest.raises(ValueError, match="data loader"):
        MetaReweighter(model, p.LOSS, on_nonfinite="drop")
    for scorer in (LossMagnitude(), Uniform(), RandomWeights()):
        step = MetaReweighter(model, p.LOSS, scorer=scorer)(noisy)
        step.loss.backward()
        both = [torch.empty_like(step.losses) for _ in range(2)]
        dist.all_gather(both, step.losses)
        assert torch.equal(*both)


def test_what_does_not_work_is_refused_in_words(two_ranks):
    two_ranks(refusals)
