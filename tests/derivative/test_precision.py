"""``precision="training"``: scores under the training pass's own autocast."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from reweight import GradientSimilarity, LastLayerGradient, MetaReweighter, SampleLosses
from reweight._check.compare import _rank_correlation
from tests.comparing import assert_same
from tests.device import accelerators, autocast

CE = nn.CrossEntropyLoss(reduction="none")
HALVES = [torch.bfloat16, torch.float16]


def mlp():
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.GELU())
    return model.append(nn.Linear(64, 5)), lambda n: torch.randn(n, 16)


def conv():
    model = nn.Sequential(
        *(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=2)),
        *(nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 25, 5)),
    )
    return model, lambda n: torch.randn(n, 3, 14, 14)


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, 5)

    def forward(self, x):
        return self.head(self.body(x).mean(dim=1))


def transformer():
    return Transformer(), lambda n: torch.randn(n, 12, 32)


MODELS = {"mlp": mlp, "conv": conv, "transformer": transformer}


def setting(name, **options):
    model, inputs = MODELS[name]()
    noisy, trusted = ((inputs(n), torch.randint(5, (n,))) for n in (24, 16))
    scorer = options.pop("scorer", None) or GradientSimilarity("forward")
    return model, noisy, trusted, MetaReweighter(model, CE, scorer=scorer, **options)


def exact(model, noisy, trusted):
    weigh = MetaReweighter(model, CE, scorer=GradientSimilarity("forward"))
    return weigh.score(noisy, trusted).scores["gradient_similarity"]


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", MODELS)
def test_samples_are_ranked_as_in_float32(name, dtype):
    model, noisy, trusted, weigh = setting(name, precision="training")
    right = exact(model, noisy, trusted)
    with autocast(dtype=dtype):
        for _ in range(3):
            step = weigh(noisy, trusted)
    found = step.scores["gradient_similarity"]
    assert found.dtype in (torch.float32, torch.float64)
    assert _rank_correlation(found, right) > 0.97
    assert (found - right).norm() < 0.1 * right.norm()
    assert not torch.equal(found, right), "autocast has had no part in it"


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", MODELS)
def test_they_are_taken_beside_the_training_pass(name, dtype):
    model, noisy, trusted, weigh = setting(name, precision="training", self_check=False)
    sizes = []
    model.register_forward_hook(lambda _m, _a, out: sizes.append(len(out)))
    with autocast(dtype=dtype):
        weigh(noisy, trusted)
    assert sizes == [16, 24]
    assert weigh._objective.verdicts.can_be_followed


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", MODELS)
def test_the_training_pass_stays_what_it_is_without_the_library(name, dtype):
    model, noisy, trusted, weigh = setting(name, precision="training")
    with autocast(dtype=dtype):
        step = weigh(noisy, trusted)
        losses = CE(model(noisy[0]), noisy[1])
    step.loss.backward()
    found = [p.grad for p in model.parameters()]
    expected = torch.autograd.grad((step.weights * losses).sum(), list(model.parameters()))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_full_precision_is_the_default_and_outside_autocast_both_are_the_same():
    for options in ({}, {"precision": "full"}):
        model, noisy, trusted, weigh = setting("mlp", **options)
        right = exact(model, noisy, trusted)
        with autocast():
            found = weigh(noisy, trusted).scores["gradient_similarity"]
        torch.testing.assert_close(found, right, rtol=1e-5, atol=1e-7)
    model, noisy, trusted, weigh = setting("mlp", precision="training")
    found = weigh(noisy, trusted).scores["gradient_similarity"]
    torch.testing.assert_close(found, exact(model, noisy, trusted), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("method", ["double_backward", "per_sample", "finite_difference"])
def test_other_methods_too(method):
    model, noisy, trusted, weigh = setting(
        "mlp", scorer=GradientSimilarity(method), precision="training"
    )
    right = exact(model, noisy, trusted)
    with autocast():
        found = weigh(noisy, trusted).scores["gradient_similarity"]
    assert not torch.equal(found, right)
    if method != "finite_difference":  # a difference of numbers of two digits is none
        assert _rank_correlation(found, right) > 0.97


@pytest.mark.parametrize("scale", [1e-5, 1e3])
def test_float16_neither_overflows_nor_vanishes(scale):
    """A trusted gradient that float16 could not hold: scaled, as a loss is for training."""
    model, noisy, trusted, _ = setting("mlp")

    def forward(model, batch):
        return scale * CE(model(batch[0]), batch[1])

    weigh = MetaReweighter(
        model, forward=forward, scorer=GradientSimilarity("forward"), precision="training"
    )
    plain = MetaReweighter(model, forward=forward, scorer=GradientSimilarity("forward"))
    right = plain.score(noisy, trusted).scores["gradient_similarity"]
    with autocast(dtype=torch.float16):
        found = weigh(noisy, trusted).scores["gradient_similarity"]
    assert _rank_correlation(found, right) > 0.97
    assert (found - right).norm() < 0.1 * right.norm()


@pytest.mark.parametrize("dtype", HALVES)
def test_the_default_scorer_a_trusted_term_and_every_label(dtype):
    model, noisy, trusted, weigh = setting(
        "conv",
        scorer=GradientSimilarity() / LastLayerGradient(),
        trusted_coefficient=1.0,
        label_scores=True,
        precision="training",
    )
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    for _ in range(11):
        with autocast(dtype=dtype):
            step = weigh(noisy, trusted)
        assert step.label_scores is not None
        optimizer.zero_grad()
        step.loss.backward()
        optimizer.step()
    assert torch.isfinite(step.loss)
    assert "autocast of the training pass" in weigh.explain()


@pytest.mark.parametrize("method", ["forward", "double_backward"])
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", MODELS)
def test_the_label_given_has_the_score_of_the_sample(name, dtype, method):
    _, noisy, trusted, weigh = setting(
        name, scorer=GradientSimilarity(method), label_scores=True, precision="training"
    )
    for call in (weigh, weigh, weigh.score):
        with autocast(dtype=dtype):
            step = call(noisy, trusted)
        own = step.label_scores.gather(1, noisy[1][:, None]).squeeze(1)
        # The CPU's cross-entropy is in float32 throughout.
        assert_same(step.scores["gradient_similarity"], own, 2e-2 if accelerators() else 1e-5)


@pytest.mark.parametrize("method", ["forward", "double_backward"])
@pytest.mark.parametrize("factor", [1.0, 1.2])
def test_a_loss_in_half_precision_is_told_from_another_loss(method, factor):
    """As cross-entropy under autocast on a GPU: a log-softmax of bfloat16, that many bits long."""
    model, noisy, trusted, _ = setting("conv")

    def forward(model, batch):
        logits = model(batch[0])
        with autocast(enabled=False):
            losses = F.nll_loss(logits.log_softmax(1).float(), batch[1], reduction="none")
            return SampleLosses(factor * losses, logits=logits, labels=batch[1])

    weigh = MetaReweighter(
        model,
        forward=forward,
        scorer=GradientSimilarity(method),
        label_scores=True,
        precision="training",
    )
    with autocast():
        if factor == 1:
            assert weigh(noisy, trusted).label_scores is not None
            return
        with pytest.raises(RuntimeError, match=r"apart by .* of the largest"):
            weigh(noisy, trusted)


def test_autocast_that_is_entered_inside_the_model_counts_as_well():
    class Inside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = mlp()[0]

        def forward(self, x):
            with autocast(dtype=torch.bfloat16):
                return self.body(x)

    model = Inside()
    noisy, trusted = ((torch.randn(n, 16), torch.randint(5, (n,))) for n in (24, 16))
    right = exact(model, noisy, trusted)
    weigh = MetaReweighter(
        model, CE, scorer=GradientSimilarity("forward"), precision="training", self_check=False
    )
    found = weigh(noisy, trusted).scores["gradient_similarity"]
    assert weigh._objective.verdicts.can_be_followed
    assert not weigh._objective.verdicts.autocast_inside
    assert not torch.equal(found, right)
    assert _rank_correlation(found, right) > 0.97


def test_what_does_not_go_together_is_refused():
    with pytest.raises(ValueError, match="do not go together"):
        MetaReweighter(
            mlp()[0], CE, compile=True, precision="training", scorer=GradientSimilarity()
        )
    with pytest.raises(ValueError, match="precision"):
        MetaReweighter(mlp()[0], CE, precision="half")
