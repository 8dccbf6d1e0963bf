"""A tuple or list as input is a model's arguments, or one argument."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from reweight import GradientSimilarity, MetaReweighter
from tests import oracle
from tests.comparing import assert_same
from tests.compatibility.marks import rows
from tests.device import accelerators, packed
from tests.problems import cross_entropy, float64


class Reader(nn.Module):
    """Takes packed sequences."""

    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.RNN(3, 5), nn.Linear(5, 3)

    def forward(self, sequences, state=None):
        return self.head(self.rnn(sequences, state)[1][-1])


class Images(nn.Module):
    """Takes a list of images of several sizes, as detectors do."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 3)

    def forward(self, images, targets=None):
        assert targets is None
        assert isinstance(images, (list, tuple))
        return torch.stack([self.head(image.mean((1, 2))) for image in images])


class ImagesAlone(Images):
    def forward(self, images):
        return super().forward(images)


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(6, 3)

    def forward(self, x, scale=None):
        return self.head(x) if scale is None else self.head(x) * scale


class Needs(Two):
    def forward(self, x, scale):
        return super().forward(x, scale)


class Any(Two):
    def forward(self, *given):
        return super().forward(*given)


class Case(NamedTuple):
    image: Tensor
    size: Tensor


class Cases(Two):
    def forward(self, case, flip=False):
        assert isinstance(case, Case)
        return super().forward(case.image.flip(1) if flip else case.image, case.size)


class Named(Two):
    def forward(self, image, size=None):
        return super().forward(image, size)


def sequences(n):
    return packed([torch.randn(1 + i % 3, 3) for i in range(n)])


def images(n, channels=3):
    return [torch.randn(channels, 4, 4 + i) for i in range(n)]


def pair(n):
    return torch.randn(n, 6), torch.rand(n, 1) + 0.5


KINDS = {
    "packed": (Reader, sequences, "one"),
    "images": (Images, images, "one"),
    "images, one argument": (ImagesAlone, images, "one"),
    "images in a tuple": (Images, lambda n: tuple(images(n)), "one"),
    "named tuple": (Cases, lambda n: Case(*pair(n)), "one"),
    "two arguments": (Needs, pair, "spread"),
    "two arguments in a list": (Needs, lambda n: list(pair(n)), "spread"),
    "one may be left out": (Two, pair, "spread"),
    "it is left out": (Two, lambda n: pair(n)[:1], "spread"),
    "any number": (Any, pair, "spread"),
    "one for all": (Two, lambda n: (torch.randn(n, 6), 0.5), "spread"),
    "one for all, a tensor": (Two, lambda n: (torch.randn(n, 6), torch.tensor(0.5)), "spread"),
    "named arguments": (Named, lambda n: Case(*pair(n)), "spread"),
}


SEVERAL = "Several inputs in a tuple or list, as arguments of forward"
ABOUT = {
    "packed": "PackedSequence",
    "images": "Lists and tuples of images of several sizes",
    "images, one argument": "Lists and tuples of images of several sizes",
    "images in a tuple": "Lists and tuples of images of several sizes",
    "two arguments": SEVERAL,
    "two arguments in a list": SEVERAL,
    "any number": SEVERAL,
}


@pytest.mark.parametrize("noisy", [1, 2, 3, 5])
@pytest.mark.parametrize("kind", rows("batch", KINDS, ABOUT))
def test_the_model_is_given_what_a_plain_call_would_give(kind, noisy):
    make, inputs, how = KINDS[kind]
    with float64():
        model = make()
        batches = [(inputs(n), torch.randint(3, (n,))) for n in (noisy, 4)]

    def forward(model, batch):
        output = model(batch[0]) if how == "one" else model(*batch[0])
        return cross_entropy(output, batch[1])

    expected = oracle.gradient_similarity(model, forward, *batches)
    # cuDNN's recurrent layers have no second derivative.
    twice = kind != "packed" or not accelerators()
    scorer = GradientSimilarity("double_backward" if twice else "per_sample")
    step = MetaReweighter(model, cross_entropy, scorer=scorer)(*batches)
    assert_same(step.scores["gradient_similarity"], expected, 1e-9)


def test_a_batch_that_could_be_either_is_as_those_before_it():
    """One image of one channel in a list looks like one argument of a batch of one."""
    with float64():
        model, loss = Images(), nn.CrossEntropyLoss(reduction="none")
        model.head = nn.Linear(1, 3)
        batches = [(images(n, channels=1), torch.randint(3, (n,))) for n in (4, 1)]
    weigh = MetaReweighter(model, loss, scorer=GradientSimilarity())
    weigh(batches[0], batches[0])
    weigh(batches[1], batches[0])


def test_wrappers_are_looked_through():
    model = nn.DataParallel(ImagesAlone().double())
    batch = images(3), torch.randint(3, (3,))
    batch = [each.double() for each in batch[0]], batch[1]
    step = MetaReweighter(model, cross_entropy, scorer=GradientSimilarity()).score(batch, batch)
    assert step.weights.shape == (3,)


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (Needs, lambda n: (torch.randn(n, 6),)),
        (Needs, lambda n: [torch.randn(n, 6) for _ in range(3)]),
        (Needs, lambda n: {"x": torch.randn(n, 6), "size": torch.ones(n, 1)}),
    ],
    ids=["too few", "too many", "another name"],
)
def test_an_error_about_arguments_says_how_to_mend_it(model, inputs):
    batch = inputs(4), torch.randint(3, (4,))
    with pytest.raises(TypeError, match="argument") as caught:
        MetaReweighter(model(), cross_entropy)(batch, batch)
    (note,) = caught.value.__notes__
    assert "Needs.forward(x, scale)" in note
    assert "forward=lambda model, batch" in note


def test_an_error_of_the_model_itself_is_left_alone():
    class Broken(Two):
        def forward(self, *_):
            raise TypeError("cannot add a list and a tensor")

    batch = pair(4), torch.randint(3, (4,))
    with pytest.raises(TypeError, match="cannot add") as caught:
        MetaReweighter(Broken(), cross_entropy)(batch, batch)
    assert not hasattr(caught.value, "__notes__")
