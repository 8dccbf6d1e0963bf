"""Layers that some samples do not reach, and backward passes by the dozen: a warning, once."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from reweight import GradientSimilarity, LastLayerGradient, MetaReweighter
from tests import oracle
from tests.comparing import assert_same

CE = nn.CrossEntropyLoss(reduction="none")
DOMAIN = torch.tensor([0, 1, 0, 0, 1, 0])


class Heads(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.heads = nn.Linear(6, 8), nn.ModuleList(nn.Linear(8, 3) for _ in range(2))

    def features(self, x):
        return torch.tanh(self.body(x))


class Routed(Heads):
    def forward(self, x, domain):
        h = self.features(x)
        out = h.new_zeros(len(x), 3)
        for number, head in enumerate(self.heads):
            out[domain == number] = head(h[domain == number])
        return out


class Masked(Heads):
    def forward(self, x, domain):
        h = self.features(x)
        return torch.where((domain == 0)[:, None], self.heads[0](h), self.heads[1](h))


class Gated(Heads):
    def forward(self, x, domain):
        h = self.features(x)
        gates = nn.functional.one_hot(domain, 2).to(h)
        return sum(gates[:, k, None] * head(h) for k, head in enumerate(self.heads))


class Auxiliary(Heads):
    """The head that runs last is not in the loss at all."""

    def forward(self, x, domain):  # noqa: ARG002
        h = self.features(x)
        out = self.heads[0](h)
        self.heads[1](h)
        return out


def given(count=6):
    return (torch.randn(count, 6).double(), DOMAIN[:count]), torch.randint(3, (count,))


def losses(model, batch):
    return CE(model(*batch[0]), batch[1])


@pytest.mark.parametrize("kind", [Routed, Masked, Gated, Auxiliary])
@pytest.mark.parametrize("way", ["step", "score"])
def test_a_layer_that_some_samples_do_not_reach_is_named_once(kind, way):
    model = kind().double()
    weigh = MetaReweighter(model, CE)

    def call():
        return weigh(given(), given()) if way == "step" else weigh.score(given(), given())

    with pytest.warns(UserWarning, match=r"'heads.1'.*some of the samples.*layer="):
        call()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for _ in range(3):
            call()


@pytest.mark.parametrize("kind", [Routed, Masked, Gated])
def test_a_layer_that_all_samples_reach_is_scored_without_a_word(kind):
    model, batch = kind().double(), given()
    scorer = 0.5 * GradientSimilarity() + 0.5 * LastLayerGradient(layer="body")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        step = MetaReweighter(model, CE, scorer=scorer)(batch, given())
    expected = oracle.last_layer_norms(model, losses, batch, "body")
    assert_same(step.scores["last_layer_gradient"], expected, 1e-9)


def test_samples_without_any_gradient_are_no_reason_for_a_word():
    """A dead unit, a satisfied margin, a saturated softmax: no layer has a gradient there."""
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3), nn.ReLU()).double()
    with torch.no_grad():
        model[2].bias.fill_(-5)
        model[2].weight[:, 0].fill_(20)
    weigh = MetaReweighter(model, lambda z, y: CE(z, y), scorer=LastLayerGradient())
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for _ in range(3):
            step = weigh((torch.randn(30, 6).double(), torch.randint(3, (30,))))
    scores = step.scores["last_layer_gradient"]
    assert 0 < int((scores == 0).sum()) < 30


def contrast(model, batch):
    z = model(batch[0])
    return CE(z @ z.t(), torch.arange(len(z)))


def time_major(model, batch):
    return model(batch[0].transpose(0, 1)).square().mean((0, 2))


@pytest.mark.parametrize(
    ("model", "forward", "shape", "why"),
    [
        (nn.Linear(6, 3), contrast, (33, 6), "for other samples"),
        (nn.Linear(6, 3), time_major, (33, 4, 6), "first side"),
        (nn.LSTM(6, 3, batch_first=True), None, (33, 4, 6), "this kind of layer"),
    ],
    ids=["contrast", "time first", "LSTM"],
)
def test_many_passes_are_announced_with_number_and_reason(model, forward, shape, why):
    if forward is None:

        def forward(model, batch):
            return model(batch[0])[0].square().mean((1, 2))

    batch = (torch.randn(shape),)
    few = MetaReweighter(nn.Sequential(model), forward=forward, scorer=LastLayerGradient())
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        few.score((batch[0][:32],))
    with pytest.warns(UserWarning, match=rf"33 backward passes.*{why}.*layer="):
        few.score(batch)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        few.score((torch.cat([batch[0]] * 2),))


def test_hooks_on_the_layer_are_the_reason():
    model = nn.Linear(6, 3)
    model.register_forward_hook(lambda _, __, z: z * 2)
    weigh = MetaReweighter(model, CE, scorer=LastLayerGradient())
    with pytest.warns(UserWarning, match=r"33 backward passes.*hooks"):
        weigh.score((torch.randn(33, 6), torch.randint(3, (33,))))


def test_several_rows_of_a_sample_take_no_pass_each():
    """A head that is fed positions, one sample after the other."""
    model = nn.Sequential(nn.Linear(6, 8), nn.Flatten(0, 1), nn.Linear(8, 3)).double()
    batch = torch.randn(40, 4, 6).double(), torch.randint(3, (160,))

    def forward(model, batch):
        return CE(model(batch[0]), batch[1]).reshape(len(batch[0]), -1).mean(1)

    weigh = MetaReweighter(model, forward=forward, scorer=LastLayerGradient())
    rows = oracle.per_sample_gradients(model, forward, batch, list(model[2].parameters()))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for _ in range(4):
            found = weigh.score(batch).scores["last_layer_gradient"]
            assert_same(found, rows.norm(dim=1), 1e-9)
