"""A user's training script, typed: `mypy --strict` and `pyright` must find nothing in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, assert_type

import torch
from torch import Tensor, nn

from reweight import (
    CheckReport,
    GradientSimilarity,
    KeepAll,
    LastLayerGradient,
    LossMagnitude,
    MetaReweighter,
    NonFiniteError,
    RandomWeights,
    Rectify,
    ReweightedStep,
    Scorer,
    ScorerCheck,
    ScoringContext,
    TopK,
    UnguardedWriteError,
    Uniform,
    UnknownParametersError,
    as_scorer,
    normalize,
)
from reweight.lookahead import SGD
from reweight.scorers import Mixture
from reweight.typing import Forward, Granularity, Loss, ScorerLike, Selector

Batch = tuple[Tensor, Tensor]


def batches(count: int) -> Iterator[Batch]:
    for _ in range(count):
        yield torch.randn(4, 3), torch.randint(2, (4,))


def losses(output: Tensor, target: Tensor) -> Tensor:
    return nn.functional.cross_entropy(output, target, reduction="none")


def forward(model: nn.Module, batch: Batch) -> Tensor:
    inputs, target = batch
    return losses(model(inputs), target)


def confidence(context: ScoringContext) -> Tensor:
    assert_type(context.losses, Tensor)
    return (-context.losses).exp()


class Alignment(Scorer):
    """A scorer of the user's own, in the library's terms."""

    before_training_pass = True

    def __call__(self, context: ScoringContext) -> Tensor:
        gradient = context.trusted_gradient()
        assert_type(gradient, dict[str, Tensor])
        return context.directional_derivative(gradient)


class Plain:
    """One that derives from nothing."""

    name = "plain"

    def __call__(self, context: ScoringContext) -> Tensor:
        return torch.ones_like(context.losses)


def halves(weights: Tensor) -> Tensor:
    return torch.where(weights >= weights.median(), weights, torch.zeros_like(weights))


def scoring() -> list[ScorerLike]:
    own = as_scorer(confidence)
    assert_type(own, Scorer)
    mixture = 0.3 * GradientSimilarity() + 0.7 * LastLayerGradient() + Alignment()
    assert_type(mixture, Mixture)
    return [
        mixture,
        0.5 * own + LossMagnitude(),
        confidence,
        Alignment(),
        Plain(),
        Uniform(),
        RandomWeights(seed=3),
        sum([Uniform(), RandomWeights()], start=Uniform() * 0.5),
        GradientSimilarity(parameters="2.*", method="double_backward"),
        GradientSimilarity(method="per_sample"),
        GradientSimilarity(lookahead=SGD(lr=0.1)),
        LastLayerGradient(layer="2"),
    ]


def selection() -> list[Selector]:
    return [KeepAll(), Rectify(), Rectify(0.1), TopK(3), TopK(0.5), halves]


def report(step: ReweightedStep) -> float:
    assert_type(step.loss, Tensor)
    assert_type(step.weights, Tensor)
    assert_type(step.losses, Tensor)
    assert_type(step.scores, dict[str, Tensor])
    assert_type(step.kept, int)
    assert_type(step.empty, bool)
    assert_type(step.dropped, tuple[int, ...])
    if step.counted is not None:
        assert_type(step.counted, Tensor)
    if step.trusted_loss is not None:
        assert_type(step.trusted_loss, Tensor)
    return step.effective_sample_size


def keep(batch: Any, kept: Tensor) -> Any:
    """Leave samples out of a batch whose form only its owner knows."""
    inputs, target = batch
    return inputs[kept], target[kept]


def masked(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Losses, and which of them count."""
    values = forward(model, batch)
    return values, torch.arange(len(values)) > 0


def checked(reweighter: MetaReweighter, noisy: Batch, trusted: Batch) -> bool:
    found = reweighter.check(noisy, trusted)
    assert_type(found, CheckReport)
    for row in found.scorers:
        assert_type(row, ScorerCheck)
        assert_type(row.error, float | None)
        assert_type(row.way, str)
        assert_type(row.agrees, bool)
    assert_type(found.facts, tuple[str, ...])
    assert_type(found.samples, int)
    print(found)
    return found.ok


def resumed(before: MetaReweighter, after: MetaReweighter) -> MetaReweighter:
    state = before.state_dict()
    assert_type(state, dict[str, Any])
    after.load_state_dict(state)
    return after


def refused(reweighter: MetaReweighter, noisy: Batch, trusted: Batch) -> str:
    try:
        reweighter.score(noisy, trusted)
    except UnknownParametersError as error:
        return str(error)
    except UnguardedWriteError as error:
        return f"once more: {error}"
    return ""


def train(scorer: ScorerLike, selector: Selector) -> list[float]:
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    reweighter = MetaReweighter(
        model,
        nn.CrossEntropyLoss(reduction="none"),
        scorer=scorer,
        selector=selector,
        trusted_coefficient=0.5,
        on_empty="uniform",
        on_nonfinite="drop",
        leave_out=keep,
        self_check=False,
    )
    sizes: list[float] = []
    for noisy, trusted in zip(batches(2), batches(2), strict=True):
        optimizer.zero_grad()
        step = reweighter(noisy, trusted)
        assert_type(step, ReweightedStep)
        step.loss.backward()
        if step.kept:
            optimizer.step()
        sizes.append(report(step))
    return sizes


def main() -> None:
    for scorer in scoring():
        train(scorer, KeepAll())
    for selector in selection():
        train(Uniform(), selector)
    model = nn.Linear(3, 2)
    by_loss: Loss = losses
    by_forward: Forward = forward
    granularity: Granularity = "element"
    by_function = MetaReweighter(model, forward=by_forward, granularity=granularity)
    published = MetaReweighter.paper(model, by_loss)
    assert_type(published, MetaReweighter)
    assert_type(by_function.model, nn.Module)
    noisy, trusted = next(batches(1)), next(batches(1))
    weights = published.score(noisy, trusted).weights
    assert_type(normalize(weights), Tensor)
    assert checked(published, noisy, trusted)
    assert refused(published, noisy, trusted) == ""
    some = MetaReweighter(model, forward=masked, scorer=LossMagnitude())
    report(resumed(some, MetaReweighter(model, forward=masked, scorer=LossMagnitude()))(noisy))
    try:
        published.score((torch.full((4, 3), torch.nan), noisy[1]), trusted)
    except NonFiniteError as error:
        assert_type(error.indices, list[int])
        assert_type(error.count, int)


if __name__ == "__main__":
    main()
