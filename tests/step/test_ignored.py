"""Targets that a loss ignores count neither in a mean nor in a share."""

from __future__ import annotations

import functools
import warnings
from collections import UserDict

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from reweight import (
    GradientSimilarity,
    KeepAll,
    LastLayerGradient,
    LossMagnitude,
    MetaReweighter,
    RandomWeights,
    Rectify,
    TopK,
    Uniform,
)
from reweight._step.ignored import maybe_ignored
from tests import oracle
from tests.comparing import assert_same
from tests.compatibility.marks import rows
from tests.problems import float64

IGNORED = [1, 4]
REST = [0, 2, 3, 5, 6]
TRUSTED_REST = [0, 1, 3]


def classification(index=-100):
    """Two of seven samples are ignored, and one of four trusted ones."""
    with float64():
        model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
        noisy = torch.randn(7, 6), torch.randint(3, (7,))
        trusted = torch.randn(4, 6), torch.randint(3, (4,))
    noisy[1][IGNORED] = index
    trusted[1][2] = index
    return model, noisy, trusted


class Wrapped(nn.Module):
    def __init__(self, index):
        super().__init__()
        self.inner = nn.NLLLoss(ignore_index=index, reduction="none")

    def forward(self, output, target):
        return self.inner(output.log_softmax(1), target)


LOSSES = {
    "cross-entropy": (-100, lambda: nn.CrossEntropyLoss(reduction="none")),
    "cross-entropy 255": (255, lambda: nn.CrossEntropyLoss(ignore_index=255, reduction="none")),
    "a class": (2, lambda: nn.CrossEntropyLoss(ignore_index=2, reduction="none")),
    "wrapped": (255, lambda: Wrapped(255)),
    "function": (-100, lambda: lambda o, y: F.cross_entropy(o, y, reduction="none")),
    "partial": (9, lambda: functools.partial(F.cross_entropy, reduction="none", ignore_index=9)),
}


def with_mask(index):
    def forward(model, batch):
        output, target = model(batch[0]), batch[1]
        losses = F.cross_entropy(output, target.clamp(0, 2), reduction="none")
        return losses, target != index

    return forward


def build(kind, model, **options):
    if kind == "mask":
        return MetaReweighter(model, forward=with_mask(-100), **options)
    return MetaReweighter(model, LOSSES[kind][1](), **options)


CUT = ("exact", "as if the ignored samples had been cut out of the batch")
ABOUT = {
    **dict.fromkeys(LOSSES, ("ignore_index, in the loss or wrapped", *CUT)),
    "mask": ("A mask returned by forward=", *CUT),
}
SETTINGS = {
    "default": dict,
    "forward": lambda: {"scorer": GradientSimilarity("forward")},
    "double": lambda: {"scorer": GradientSimilarity("double_backward"), "selector": Rectify()},
    "unrolled": lambda: {"scorer": GradientSimilarity("unrolled")},
    "last layer": lambda: {"scorer": LastLayerGradient(), "selector": Rectify()},
    "loss": lambda: {"scorer": LossMagnitude(), "selector": TopK(0.4)},
    "uniform": lambda: {"scorer": Uniform(), "selector": Rectify()},
    "trusted": lambda: {"trusted_coefficient": 0.7, "selector": Rectify()},
    "none agrees": lambda: {"scorer": lambda c: -1 - c.losses, "on_empty": "uniform"},
}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("kind", rows("loss", [*LOSSES, "mask"], ABOUT))
def test_it_is_as_if_the_ignored_samples_had_been_cut_out(kind, setting):
    index = -100 if kind == "mask" else LOSSES[kind][0]
    model, noisy, trusted = classification(index)
    rest = [i for i in range(7) if noisy[1][i] != index]
    trusted_rest = [i for i in range(4) if trusted[1][i] != index]
    expected = build(kind, model, **SETTINGS[setting]()).score(
        tuple(part[rest] for part in noisy), tuple(part[trusted_rest] for part in trusted)
    )
    step = build(kind, model, **SETTINGS[setting]())(noisy, trusted)
    for name in ("weights", "losses"):
        found = getattr(step, name)
        assert_same(found[rest], getattr(expected, name), 1e-9)
        assert found.count_nonzero() == found[rest].count_nonzero()
    for name, scores in expected.scores.items():
        assert_same(step.scores[name][rest], scores, 1e-9)
        assert step.scores[name].count_nonzero() == scores.count_nonzero()
    assert_same(step.loss, expected.loss, 1e-9)
    assert step.counted.nonzero().flatten().tolist() == rest
    assert expected.counted is None or bool(expected.counted.all())
    assert step.empty == expected.empty
    if expected.trusted_loss is not None:
        assert_same(step.trusted_loss, expected.trusted_loss, 1e-9)
    step.loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_scores_are_those_of_plain_autograd():
    model, noisy, trusted = classification()
    cut = [
        tuple(part[rows] for part in batch)
        for batch, rows in ((noisy, REST), (trusted, TRUSTED_REST))
    ]

    def losses(model, batch):
        return F.cross_entropy(model(batch[0]), batch[1], reduction="none")

    expected = oracle.gradient_similarity(model, losses, *cut)
    loss = nn.CrossEntropyLoss(reduction="none")
    step = MetaReweighter(model, loss, scorer=GradientSimilarity())(noisy, trusted)
    assert_same(step.scores["gradient_similarity"][REST], expected, 1e-9)


def tokens():
    """Five sentences with padding, one of which is nothing else; four trusted ones."""
    with float64():
        model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
        batches = [(torch.randn(n, 7, 6), torch.randint(3, (n, 7))) for n in (5, 4)]
    for (_, target), lengths in zip(batches, ([3, 7, 0, 5, 1], [2, 6, 7, 4]), strict=True):
        target[torch.arange(7) >= torch.tensor(lengths)[:, None]] = -100
    return model, *batches


def token_losses(output, target):
    return F.cross_entropy(output.transpose(1, 2), target, reduction="none")


def flattened(output, target):
    losses = F.cross_entropy(output.flatten(0, 1), target.flatten(), reduction="none")
    return losses.reshape(target.shape)


def sentence_means(model, batch):
    """What a user would write: the mean over the tokens that there are, sentence by sentence."""
    rows = zip(token_losses(model(batch[0]), batch[1]), batch[1], strict=True)
    return torch.stack([losses[y != -100].mean() for losses, y in rows if (y != -100).any()])


@pytest.mark.parametrize("loss", [token_losses, flattened])
@pytest.mark.parametrize("method", ["forward", "double_backward", "unrolled"])
def test_a_sample_is_the_mean_of_those_of_its_tokens_that_count(method, loss):
    model, noisy, trusted = tokens()
    expected = oracle.gradient_similarity(model, sentence_means, noisy, trusted)
    weigh = MetaReweighter(model, loss, scorer=GradientSimilarity(method), selector=KeepAll())
    step = weigh(noisy, trusted)
    assert step.counted.tolist() == [True, True, False, True, True]
    assert_same(step.scores["gradient_similarity"][[0, 1, 3, 4]], expected, 1e-9)
    assert_same(step.losses[[0, 1, 3, 4]], sentence_means(model, noisy), 1e-9)
    assert step.losses[2] == step.weights[2] == step.scores["gradient_similarity"][2] == 0


@pytest.mark.compatibility("loss", "Tokens weighed one by one, some of them ignored", "exact")
@pytest.mark.parametrize("scorer", [GradientSimilarity, LastLayerGradient, Uniform])
def test_every_token_by_itself(scorer):
    """Padding has no weight, and 1/N and the trusted mean are over the tokens that there are."""
    model, noisy, trusted = tokens()

    def cut(batch):
        counted = batch[1] != -100
        return batch[0][counted], batch[1][counted]

    def one_by_one(model, batch):
        return F.cross_entropy(model(batch[0]), batch[1], reduction="none")

    options = {"selector": Rectify(), "trusted_coefficient": 0.3}
    expected = MetaReweighter(model, forward=one_by_one, scorer=scorer(), **options).score(
        cut(noisy), cut(trusted)
    )
    step = MetaReweighter(model, token_losses, scorer=scorer(), granularity="element", **options)(
        noisy, trusted
    )
    counted = noisy[1] != -100
    assert torch.equal(step.counted, counted)
    assert_same(step.weights[counted], expected.weights, 1e-9)
    assert not step.weights[~counted].any()
    assert_same(step.trusted_loss, expected.trusted_loss, 1e-9)
    assert_same(step.loss, expected.loss, 1e-9)
    assert step.kept == expected.kept


def test_random_weights_go_to_those_that_count():
    model, noisy, trusted = classification()
    loss = nn.CrossEntropyLoss(reduction="none")
    step = MetaReweighter(model, loss, scorer=RandomWeights(seed=1))(noisy, trusted)
    assert not step.weights[IGNORED].any()
    assert_same(step.weights.sum(), torch.tensor(1.0), 1e-6)


@pytest.mark.parametrize("policy", ["skip", "uniform"])
@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_nothing_counts(policy, beta):
    model, noisy, trusted = classification()
    noisy[1][:] = -100
    weigh = MetaReweighter(
        model,
        nn.CrossEntropyLoss(reduction="none"),
        selector=TopK(2),
        on_empty=policy,
        trusted_coefficient=beta,
    )
    step = weigh(noisy, trusted)
    assert step.empty
    assert step.kept == 0
    assert not step.counted.any()
    step.loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    assert bool(model[0].weight.grad.any()) is (beta > 0)


def test_no_trusted_sample_counts():
    model, noisy, trusted = classification()
    trusted[1][:] = -100
    loss = nn.CrossEntropyLoss(reduction="none")
    step = MetaReweighter(model, loss, scorer=GradientSimilarity())(noisy, trusted)
    assert step.empty
    assert step.trusted_loss == 0
    step.loss.backward()


@pytest.mark.parametrize("where", ["noisy", "trusted"])
def test_what_does_not_count_may_be_anything(where):
    model, noisy, trusted = classification()
    (noisy if where == "noisy" else trusted)[0][2] = float("inf")

    def forward(model, batch):
        finite = batch[0].isfinite().all(1)
        losses = F.cross_entropy(
            model(batch[0].nan_to_num(posinf=0)), batch[1].clamp(0, 2), reduction="none"
        )
        return torch.where(finite, losses, torch.nan), finite

    step = MetaReweighter(model, forward=forward)(noisy, trusted)
    assert bool(step.weights.isfinite().all())
    assert step.weights[2] == 0 or where == "trusted"
    step.loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_dropping_and_ignoring_together():
    model, noisy, trusted = classification()
    noisy[0][0] = float("nan")
    loss = nn.CrossEntropyLoss(reduction="none")
    weigh = MetaReweighter(model, loss, on_nonfinite="drop", selector=Rectify())
    step = weigh(noisy, trusted)
    expected = MetaReweighter(model, loss, selector=Rectify()).score(
        *[
            tuple(part[rows] for part in batch)
            for batch, rows in ((noisy, REST[1:]), (trusted, TRUSTED_REST))
        ]
    )
    assert step.dropped == (0,)
    assert step.counted.nonzero().flatten().tolist() == REST[1:]
    assert_same(step.weights[REST[1:]], expected.weights, 1e-9)


@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss(reduction="none"),
        nn.CrossEntropyLoss(reduction="none", ignore_index=7),
        lambda o, y: (o.mean(1) - y).square(),
        lambda o, _: o.mean(1).square(),
    ],
)
def test_where_nothing_is_ignored_everything_counts(loss):
    model, noisy, trusted = classification(index=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step = MetaReweighter(model, loss)(noisy, trusted)
    assert step.counted is None


@pytest.mark.parametrize(
    ("mask", "error"),
    [
        (torch.ones(3, dtype=torch.bool), ValueError),
        (torch.ones(7), ValueError),
        (None, None),
        ([True] * 7, TypeError),
    ],
)
def test_a_mask_of_another_form(mask, error):
    model, noisy, trusted = classification(index=0)

    def forward(model, batch):
        return F.cross_entropy(model(batch[0]), batch[1], reduction="none"), mask

    weigh = MetaReweighter(model, forward=forward, scorer=Uniform())
    if error is None:
        assert weigh(noisy, trusted).counted is None
    else:
        with pytest.raises(error, match="which of them count"):
            weigh(noisy, trusted)


def test_a_mask_of_samples_for_a_map_of_losses():
    model, noisy, trusted = tokens()

    def forward(model, batch):
        return token_losses(model(batch[0]), batch[1].clamp(0)), torch.arange(len(batch[0])) > 0

    for granularity in ("sample", "element"):
        step = MetaReweighter(model, forward=forward, scorer=Uniform(), granularity=granularity)(
            noisy, trusted
        )
        assert not step.weights[0].any()
        assert bool((step.weights[1:] > 0).all())


NEXT_TOKEN = {
    "map": lambda o, y: token_losses(o, y),
    "shifted map": lambda o, y: token_losses(o[:, :-1], y[:, 1:]),
    "flattened": lambda o, y: token_losses(o, y).flatten(),
    "flattened and shifted": lambda o, y: token_losses(o[:, :-1], y[:, 1:]).flatten(),
}


@pytest.mark.filterwarnings("ignore:the loss returned")  # flattened
@pytest.mark.parametrize("kind", NEXT_TOKEN)
@pytest.mark.parametrize("batches", [dict, UserDict, tuple])
def test_a_forward_function_s_labels_of_minus_100_do_not_count(kind, batches):
    """As the Hugging Face's collators make them; what returns losses alone says nothing of them."""
    torch.manual_seed(0)
    model = nn.Linear(5, 3).double()
    labels = torch.where(torch.rand(2, 4, 6) < 0.4, -100, torch.randint(3, (2, 4, 6)))
    labels[:, :, 1] = 1  # of every sample something counts

    def losses_of(model, batch):
        x, y = batch if isinstance(batch, tuple) else (batch["x"], batch["labels"])
        return NEXT_TOKEN[kind](model(x), y)

    def said(model, batch):
        y = batch[1] if isinstance(batch, tuple) else batch["labels"]
        shown = y[:, 1:] if "shifted" in kind else y
        return losses_of(model, batch), shown.reshape(losses_of(model, batch).shape) != -100

    given = [
        (torch.randn(4, 6, 5).double(), y)
        if batches is tuple
        else batches(x=torch.randn(4, 6, 5).double(), labels=y)
        for y in labels
    ]
    torch.manual_seed(1)
    found = MetaReweighter(model, forward=losses_of, scorer=LossMagnitude())(*given)
    expected = MetaReweighter(model, forward=said, scorer=LossMagnitude())(*given)
    assert_same(found.losses, expected.losses, 1e-12)
    assert_same(found.weights, expected.weights, 1e-12)
    assert torch.equal(found.counted, expected.counted)


@pytest.mark.parametrize("place", ["meta", "cpu"])
def test_a_batch_that_stays_on_another_device_than_the_losses_is_looked_at(place):
    """As of a ``forward=`` that moves its batches itself; "meta" stands for an accelerator."""
    target = torch.tensor([[0, -100], [2, 1]], device="cpu")
    losses = torch.zeros(2, 2, device=place)
    found = maybe_ignored(losses, target, (-100, 7))
    assert found is not None
    assert (found.device, found.dtype, found.shape) == (losses.device, torch.bool, losses.shape)
    if place == "cpu":
        assert found.tolist() == [[False, True], [False, False]]
