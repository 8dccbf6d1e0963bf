"""Random operators: the tangent is that of the numbers the pass drew, and the stream goes on."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.derivative.beside_training.observing import EITHER, FOLLOWED, observe, observe_module
from tests.derivative.beside_training.test_rules import rand


@pytest.mark.parametrize(
    ("call", "expect"),
    [
        (lambda x: F.dropout(x, 0.4), FOLLOWED),
        (lambda x: F.dropout(F.dropout(x, 0.4) * x, 0.2) * torch.rand(3), FOLLOWED),
        (lambda x: F.dropout1d(x, 0.4) + F.feature_alpha_dropout(x, 0.4, True), FOLLOWED),
        (lambda x: F.dropout2d(x[..., None], 0.4) + F.alpha_dropout(x, 0.4, True).mean(), FOLLOWED),
        (lambda x: F.dropout(x, 0.4, training=False), FOLLOWED),
        (lambda x: F.gumbel_softmax(x, tau=0.7, dim=-1), FOLLOWED),
        (lambda x: F.gumbel_softmax(x, hard=True), FOLLOWED),
        (lambda x: F.rrelu(x, training=True), EITHER),
        (lambda x: x * torch.bernoulli(x.sigmoid()), FOLLOWED),
        (lambda x: x * torch.rand_like(x) + torch.randn_like(x) + torch.rand(3), FOLLOWED),
        (lambda x: x + torch.normal(x, 1.0) * x, FOLLOWED),
        (lambda x: x * x.clone().uniform_() + x.clone().normal_() + x, FOLLOWED),
        (lambda x: x[:, torch.randperm(4)] * x, FOLLOWED),
        (lambda x: torch.distributions.Normal(x, x.exp()).rsample(), FOLLOWED),
        (lambda x: torch.distributions.Gamma(x.exp(), 1.0).rsample(), EITHER),
        (lambda x: torch.distributions.Dirichlet(x.exp()).rsample(), EITHER),
        (lambda x: torch.poisson(x.exp()) * x, EITHER),
        (lambda x: F.fractional_max_pool2d(x[..., None].expand(2, 4, 3, 3), 2, 2), EITHER),
    ],
)
def test_random_operators(call, expect):
    observe(call, rand(2, 4, 3), expect=expect)


@pytest.mark.parametrize(
    "draw",
    [
        lambda x, generator: torch.bernoulli(x.sigmoid(), generator=generator) * x,
        lambda x, generator: torch.normal(x, 1.0, generator=generator) * x,
        lambda x, generator: (x * 1).normal_(generator=generator) + x,
        lambda x, generator: torch.rand(3, generator=generator) * x,
    ],
)
def test_a_generator_of_the_models_own(draw):
    """A second draw from it would change what the model draws next."""

    def program(x: Tensor) -> Tensor:
        generator = torch.Generator(torch.get_default_device()).manual_seed(3)
        return draw(x, generator) + torch.rand(3, generator=generator)

    observe(program, rand(3), expect=EITHER)


@pytest.mark.parametrize("options", [{}, {"dropout_p": 0.3}, {"is_causal": True}])
def test_scaled_dot_product_attention(options):
    def program(q: Tensor, k: Tensor) -> Tensor:
        attended = F.scaled_dot_product_attention(q, k, k.sin(), **options)
        return attended * torch.rand(2, 4, 3, dtype=q.dtype)

    observe(program, rand(2, 4, 3), rand(2, 4, 3, seed=1))


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_multi_head_attention(need_weights, training):
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2, dropout=0.4, add_bias_kv=True)

        def forward(self, x: Tensor) -> Tensor:
            out, weights = self.attention(x, x, x, need_weights=need_weights)
            return F.dropout(out if weights is None else out + weights.sum())

    observe_module(lambda: Model().train(training), rand(3, 2, 4))


@pytest.mark.parametrize("training", [True, False])
def test_transformer_layers(training):
    def make() -> nn.Module:
        encoder = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.3, batch_first=True)
        decoder = nn.TransformerDecoderLayer(4, 2, 6, dropout=0.3, activation="gelu")

        class Model(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.encoder, self.decoder = encoder, decoder

            def forward(self, x: Tensor) -> Tensor:
                return self.decoder(x, self.encoder(x))

        return Model().train(training)

    observe_module(make, rand(2, 3, 4))
