"""Loss maps that are not laid out as the layer's output: shifted, sliced, flattened, permuted."""

from __future__ import annotations

import sys
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from reweight import LastLayerGradient, MetaReweighter
from tests import oracle
from tests.comparing import assert_same

BATCH, LENGTH, WORDS = 5, 7, 9


def cross_entropy(logits, words, **options):
    return F.cross_entropy(logits.transpose(1, 2), words, reduction="none", **options)


def next_token(model, words):
    return cross_entropy(model(words)[:, :-1], words[:, 1:])


def after_a_prompt(model, words):
    return cross_entropy(model(words)[:, 2:-1], words[:, 3:])


def two_ahead(model, words):
    return cross_entropy(model(words)[:, :-2], words[:, 2:])


def flattened(model, words):
    logits = model(words)[:, :-1].reshape(-1, WORDS)
    return F.cross_entropy(logits, words[:, 1:].reshape(-1), reduction="none").reshape(BATCH, -1)


def flattened_contiguous(model, words):
    return F.cross_entropy(
        model(words).reshape(-1, WORDS), words.reshape(-1), reduction="none"
    ).reshape(BATCH, LENGTH)


def flat_losses(model, words):
    """A map whose first side is not the batch."""
    return F.cross_entropy(model(words).reshape(-1, WORDS), words.reshape(-1), reduction="none")[
        :, None
    ]


def time_major(model, words):
    return cross_entropy(model(words)[:, :-1].transpose(0, 1), words[:, 1:].t()).t()


def backwards(model, words):
    return cross_entropy(model(words).flip(1)[:, 1:], words[:, 1:])


def with_ignored_tokens(model, words):
    targets = words[:, 1:].where(words[:, 1:] > 2, -100)
    return cross_entropy(model(words)[:, :-1], targets, ignore_index=-100)


def smoothed(model, words):
    return cross_entropy(model(words)[:, :-1], words[:, 1:], label_smoothing=0.1)


def every_second(model, words):
    return cross_entropy(model(words)[:, ::2], words[:, ::2])


def regression_of_a_part(model, words):
    """Every loss is of one number, and not of all."""
    return (model(words)[:, 1:, 2:5] - 1).square()


def numbers_permuted(model, words):
    return (model(words).permute(0, 2, 1) - 1).square()


def heads_of_a_position(model, words):
    """Two losses of a position, each of its own channels."""
    logits = model(words)[:, 1:]
    first = cross_entropy(logits[..., :4], words[:, 1:] % 4)
    return torch.stack([first, logits[..., 4:].square().mean(-1)], dim=-1)


POSITIONWISE = [
    next_token,
    after_a_prompt,
    two_ahead,
    flattened,
    flattened_contiguous,
    flat_losses,
    time_major,
    backwards,
    with_ignored_tokens,
    smoothed,
    every_second,
    regression_of_a_part,
    numbers_permuted,
    heads_of_a_position,
]


def of_two_positions(model, words):
    logits = model(words)
    return cross_entropy(logits[:, 1:] + logits[:, :-1], words[:, 1:])


def normalised_over_positions(model, words):
    return -model(words)[..., 0].log_softmax(1)


def pairs_of_positions(model, words):
    """Every element owns two positions, and none is shared."""
    logits = model(words)[:, :6].reshape(BATCH, 3, 2, WORDS).sum(2)
    return cross_entropy(logits, words[:, :3])


COUPLED = [of_two_positions, normalised_over_positions, pairs_of_positions]


def language_model(bias=True):
    model = nn.Sequential(nn.Embedding(WORDS, 8), nn.Tanh(), nn.Linear(8, WORDS, bias=bias))
    return model.double()


def scores(model, forward, batches):
    weigh = MetaReweighter(
        model, forward=forward, scorer=LastLayerGradient(), granularity="element"
    )
    for words in batches:
        found = weigh.score(words).scores["last_layer_gradient"]
        head = list(model[-1].parameters())
        expected = oracle.per_sample_gradients(model, forward, words, head).norm(dim=1)
        assert_same(found, expected.reshape(found.shape), 1e-9)


def batches(steps):
    return [torch.randint(WORDS, (BATCH, LENGTH)) for _ in range(steps)]


@pytest.fixture
def no_pass_each(monkeypatch):
    def refuse(*_):
        raise AssertionError("a backward pass an element, though each has its position")

    monkeypatch.setattr(sys.modules["reweight._last_layer.norms_per_element"], "one_by_one", refuse)


@pytest.mark.usefixtures("no_pass_each")
@pytest.mark.parametrize("forward", POSITIONWISE)
@pytest.mark.parametrize("bias", [True, False])
def test_each_loss_finds_its_position(forward, bias):
    scores(language_model(bias), forward, batches(4))


@pytest.mark.filterwarnings("ignore:.*35 backward passes:UserWarning")
@pytest.mark.parametrize("forward", COUPLED)
def test_losses_of_several_positions_are_exact_too(forward):
    scores(language_model(), forward, batches(3))


@pytest.mark.usefixtures("no_pass_each")
def test_the_owners_of_a_step_are_looked_at_anew():
    """Where a loss has its position is decided by the data, and changes with the same shapes."""
    start = [0]

    def forward(model, words):
        return cross_entropy(model(words)[:, start[0] : start[0] + 3], words[:, :3])

    model = language_model()
    weigh = MetaReweighter(
        model, forward=forward, scorer=LastLayerGradient(), granularity="element"
    )
    for number, words in enumerate(batches(12)):
        start[0] = (0, 1, 1, 1, 4, 4, 4, 4, 0, 2, 1, 3)[number]
        found = weigh.score(words).scores["last_layer_gradient"]
        head = list(model[-1].parameters())
        expected = oracle.per_sample_gradients(model, forward, words, head).norm(dim=1)
        assert_same(found, expected.reshape(found.shape), 1e-9)


def test_two_positions_that_an_element_had_in_turn_are_not_one():
    """What is remembered of several steps may fit a loss that depends on both."""
    parts = [(0,)]

    def forward(model, words):
        logits = model(words)
        return cross_entropy(sum(logits[:, start : start + 3] for start in parts[0]), words[:, :3])

    model = language_model()
    weigh = MetaReweighter(
        model, forward=forward, scorer=LastLayerGradient(), granularity="element"
    )
    for number, words in enumerate(batches(9)):
        parts[0] = ((0,), (0,), (3,), (3,), (0, 3), (0, 3), (0,), (3,), (0, 3))[number]
        found = weigh.score(words).scores["last_layer_gradient"]
        head = list(model[-1].parameters())
        expected = oracle.per_sample_gradients(model, forward, words, head).norm(dim=1)
        assert_same(found, expected.reshape(found.shape), 1e-9)


def test_positions_that_begin_to_be_shared_are_found():
    shared = [False]

    def forward(model, words):
        logits = model(words)
        if shared[0]:
            logits = torch.cat([logits[:, :1], logits[:, 1:] + 1e-3 * logits[:, :-1]], 1)
        return cross_entropy(logits[:, :-1], words[:, 1:])

    model = language_model()
    weigh = MetaReweighter(
        model, forward=forward, scorer=LastLayerGradient(), granularity="element"
    )
    for number, words in enumerate(batches(10)):
        shared[0] = number >= 6
        found = weigh.score(words).scores["last_layer_gradient"]
        head = list(model[-1].parameters())
        expected = oracle.per_sample_gradients(model, forward, words, head).norm(dim=1)
        assert_same(found, expected.reshape(found.shape), 1e-9)


@pytest.mark.usefixtures("no_pass_each")
@pytest.mark.parametrize("padding", ["zeros", "circular", "reflect"])
@pytest.mark.parametrize("crop", [slice(None), slice(1, -1), slice(0, 4)])
def test_a_cropped_map_of_a_convolution(padding, crop):
    head = nn.Conv2d(4, 6, 3, padding=1, padding_mode=padding, groups=2)
    model = nn.Sequential(nn.Conv2d(2, 4, 1), nn.Tanh(), head).double()

    def forward(model, batch):
        logits = model(batch[0])[:, :, crop, 1:]
        return F.cross_entropy(logits, batch[1][:, crop, 1:], reduction="none")

    images = [(torch.randn(3, 2, 6, 6).double(), torch.randint(6, (3, 6, 6))) for _ in range(3)]
    scores(model, forward, images)


@pytest.mark.usefixtures("no_pass_each")
def test_a_map_in_single_and_half_precision():
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.02), (torch.float16, 0.01)):
        model = language_model().to(dtype)
        weigh = MetaReweighter(
            model, forward=next_token, scorer=LastLayerGradient(), granularity="element"
        )
        for words in batches(4):
            found = weigh.score(words).scores["last_layer_gradient"]
            head = list(model[-1].parameters())
            rows = oracle.per_sample_gradients(model, next_token, words, head)
            expected = rows.float().norm(dim=1)
            assert_same(found, expected.reshape(found.shape), tolerance)


def test_a_large_map_of_shared_positions_is_refused_in_words():
    def forward(model, words):
        return -model(words)[..., 0].log_softmax(1)

    weigh = MetaReweighter(
        language_model(), forward=forward, scorer=LastLayerGradient(), granularity="element"
    )
    with pytest.raises(ValueError, match=r"one position alone.*layer="):
        weigh.score(torch.randint(WORDS, (40, 30)))


def test_many_passes_are_announced_once():
    weigh = MetaReweighter(
        language_model(),
        forward=normalised_over_positions,
        scorer=LastLayerGradient(),
        granularity="element",
    )
    with pytest.warns(UserWarning, match=r"35 backward passes.*one position"):
        weigh.score(batches(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        weigh.score(batches(1)[0])


def test_a_trusted_batch_beside_it():
    """The default, as a user would start with."""
    weigh = MetaReweighter(language_model(), forward=next_token, granularity="element")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for words in batches(3):
            step = weigh(words, torch.randint(WORDS, (3, LENGTH)))
            step.loss.backward()
    assert step.weights.shape == (BATCH, LENGTH - 1)
