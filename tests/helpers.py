"""What nearly every test does with the library."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from reweight import GradientSimilarity, LastLayerGradient, MetaReweighter, ReweightedStep
from tests import oracle
from tests.problems import Case


def reweighter(case: Case, **options: Any) -> MetaReweighter:
    if not case.forward_mode:  # by default it would warn and fall back
        exact = GradientSimilarity(method=case.exact)
        options.setdefault("scorer", exact / LastLayerGradient())
    if case.forward is not None:
        return MetaReweighter(case.model, forward=case.forward, **options)
    return MetaReweighter(case.model, case.loss, **options)


def scored(case: Case, scorer: Any, **options: Any) -> ReweightedStep:
    return reweighter(case, scorer=scorer, **options).score(case.noisy, case.trusted)


def similarity(case: Case, *, granularity: str = "sample", **options: Any) -> Tensor:
    step = scored(case, GradientSimilarity(**options), granularity=granularity)
    return step.scores["gradient_similarity"]


def last_layer(case: Case, *, granularity: str = "sample", **options: Any) -> Tensor:
    step = scored(case, LastLayerGradient(**options), granularity=granularity)
    return step.scores["last_layer_gradient"]


def expected_similarity(case: Case) -> Tensor:
    return oracle.gradient_similarity(case.model, case.sample_losses, case.noisy, case.trusted)


def gradients(case: Case) -> dict[str, Tensor | None]:
    """A copy of every .grad by name."""
    return {
        name: None if p.grad is None else p.grad.clone()
        for name, p in case.model.named_parameters()
    }


def flat_grad(case: Case) -> Tensor:
    """The .grad of the trainable parameters as one vector; a missing one counts as zero."""
    parameters = oracle.trainable(case.model).values()
    return oracle.flat([p.new_zeros(p.shape) if p.grad is None else p.grad for p in parameters])
