"""Complex parameters: ⟨g, v⟩ is Re Σ ḡv, a norm that of all real and imaginary parts."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from reweight import GradientSimilarity, LastLayerGradient, MetaReweighter
from reweight.scorers.gradient_similarity import SimilarityMethod
from tests.comparing import assert_same

METHODS: list[SimilarityMethod] = ["auto", "forward", "double_backward", "per_sample", "unrolled"]
LAYERS = {
    "linear": lambda: nn.Linear(4, 3, dtype=torch.complex128),
    "convolution": lambda: nn.Conv1d(4, 3, 1, dtype=torch.complex128),
}


class Net(nn.Module):
    def __init__(self, last: str) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(5, 4, dtype=torch.complex128))
        self.last, self.by_channel = LAYERS[last](), last == "convolution"

    def forward(self, x):
        h = x.to(torch.complex128) @ self.first
        h = self.last(h[..., None])[..., 0] if self.by_channel else self.last(h)
        return h.abs() - 1


def losses_of(model, batch):
    return model(batch).square()


def data(count):
    return torch.randn(count, 5).double()


def gradients(model, value):
    found = torch.autograd.grad(value, list(model.parameters()), retain_graph=True)
    return torch.cat([torch.view_as_real(g).flatten() for g in found])


@pytest.mark.parametrize("granularity", ["sample", "element"])
@pytest.mark.parametrize("last", LAYERS)
@pytest.mark.parametrize("method", METHODS)
def test_scores_are_those_of_real_and_imaginary_parts(method, last, granularity):
    torch.manual_seed(0)
    model, noisy, trusted = Net(last), data(5), data(4)
    losses = losses_of(model, noisy)
    losses = losses if granularity == "element" else losses.mean(dim=1)
    direction = gradients(model, losses_of(model, trusted).mean())
    rows = torch.stack([gradients(model, each) for each in losses.flatten()])
    size = sum(p.numel() for p in model.last.parameters()) * 2
    scorer = 0.5 * GradientSimilarity(method) + 0.5 * LastLayerGradient()
    weigh = MetaReweighter(model, forward=losses_of, scorer=scorer, granularity=granularity)
    for step in (weigh(noisy, trusted), weigh.score(noisy, trusted)):
        found = step.scores["gradient_similarity"].flatten()
        assert_same(found, rows @ direction, 1e-9)
        norms = step.scores["last_layer_gradient"].flatten()
        assert_same(norms, rows[:, -size:].norm(dim=1), 1e-9)
