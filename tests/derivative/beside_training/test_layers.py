"""Layers and operators without a rule of their own."""
# ruff: noqa: ARG005 - programs of one table have one signature

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

from tests.derivative.beside_training.observing import EITHER, FOLLOWED, observe, observe_module
from tests.derivative.beside_training.test_rules import rand
from tests.device import accelerators

TOKENS = torch.tensor([[1, 2, 4], [3, 2, 2]])


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase], *, packed: bool) -> None:
        super().__init__()
        self.cells = kind(3, 4, num_layers=2, dropout=0.3, bidirectional=True)
        self.packed = packed

    def forward(self, x: Tensor) -> Tensor:
        if not self.packed:
            return self.cells(x)[0]
        out, _ = self.cells(nn.utils.rnn.pack_padded_sequence(x, [3, 2]))
        return nn.utils.rnn.pad_packed_sequence(out)[0]


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent(kind, packed):
    # By cuDNN there is nothing to follow it by: its operator has no forward-mode rule.
    expect = EITHER if accelerators() else FOLLOWED
    observe_module(lambda: Recurrent(kind, packed=packed), rand(3, 2, 3), expect=expect)


def test_an_lstm_in_single_precision_is_not_guessed():
    x = rand(3, 2, 3, dtype=torch.float32)
    model = lambda: Recurrent(nn.LSTM, packed=False).float()  # noqa: E731
    observe_module(model, x, expect=EITHER, tolerance=1e-4)


@pytest.mark.parametrize(
    ("make", "x"),
    [
        (lambda: nn.Embedding(5, 3), TOKENS),
        (lambda: nn.Embedding(5, 3, sparse=True), TOKENS),
        (lambda: nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.RMSNorm(4)), rand(2, 3)),
        (lambda: nn.Sequential(nn.Conv1d(2, 4, 1), nn.GroupNorm(2, 4)), rand(3, 2, 4)),
        (
            lambda: nn.Sequential(
                nn.Conv1d(2, 4, 1), nn.InstanceNorm1d(4, affine=True, track_running_stats=True)
            ),
            rand(3, 2, 4),
        ),
        (lambda: nn.Sequential(spectral_norm(nn.Linear(3, 4))), rand(2, 3)),
        (lambda: nn.Sequential(parametrizations.spectral_norm(nn.Linear(3, 4))), rand(2, 3)),
        (lambda: nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"), rand(1, 2, 3, 3)),
        (lambda: nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d()), rand(4, 2)),
    ],
)
def test_layers(make, x):
    if "Lazy" in repr(make()):
        first = make

        def make() -> nn.Module:
            torch.manual_seed(0)
            model = first()
            model(x)
            return model

    observe_module(make, x)


@pytest.mark.parametrize(
    ("make", "x"),
    [
        (lambda: nn.EmbeddingBag(5, 3), TOKENS),
        (lambda: nn.Embedding(5, 3, max_norm=1.0), TOKENS),
        (lambda: nn.EmbeddingBag(5, 3, mode="max"), TOKENS),
        (lambda: nn.EmbeddingBag(5, 3, mode="sum", max_norm=1.0), TOKENS),
        (lambda: nn.Sequential(weight_norm(nn.Linear(3, 4))), rand(2, 3)),
        (lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 4))), rand(2, 3)),
        (lambda: nn.Sequential(parametrizations.orthogonal(nn.Linear(3, 3))), rand(2, 3)),
    ],
)
def test_layers_that_write_or_have_no_forward_mode(make, x):
    observe_module(make, x, expect=EITHER)


POINTS = rand(1, 3, 2, 2, seed=7).tanh()
W = rand(4, 4, seed=3)


@pytest.mark.parametrize(
    "call",
    [
        lambda x, y: torch.einsum("bi,bj->ij", x, y) + torch.einsum("ij->i", x).sum(),
        lambda x, y: F.bilinear(x, y, rand(2, 4, 4, seed=4), y[0, :2]),
        lambda x, y: F.unfold(x[None, None], 2).mul(y.sum()),
        lambda x, y: F.fold(y.T.reshape(1, 4, 4)[..., :2], (2, 3), 2) * x.sum(),
        lambda x, y: F.interpolate(x[None, None], scale_factor=2, mode="bicubic") * y.sum(),
        lambda x, y: F.interpolate(x[None], size=3, mode="linear") * y.sum(),
        lambda x, y: torch.where(x > 0, x * y, y.exp()),
        lambda x, y: x.gather(1, torch.tensor([[0, 2], [1, 1]])) * y[:2, :2],
        lambda x, y: torch.scatter(x, 0, torch.tensor([[1, 0]]), y[:1, :2]) * x,
        lambda x, y: x.index_select(1, torch.tensor([3, 0, 0, 1])) * y,
        lambda x, y: x.sort(dim=1, descending=True).values * torch.topk(y, 4)[0],
        lambda x, y: x.max(1).values * y.min(dim=1)[0] * torch.kthvalue(x, 2).values,
        lambda x, y: x.cumsum(0) * y.cumprod(1) + torch.logcumsumexp(x, 1),
        lambda x, y: torch.linalg.solve(x @ x.T + torch.eye(4), y),
        lambda x, y: torch.linalg.cholesky(x @ x.T + torch.eye(4)) @ y,
        lambda x, y: torch.linalg.svdvals(x) + y,
        lambda x, y: torch.linalg.inv(x) @ y + torch.linalg.slogdet(x)[1],
        lambda x, y: torch.fft.rfft(x).abs() * y[:, :3],
        lambda x, y: torch.fft.ifft2(torch.fft.fft2(x) * torch.fft.fft2(y)).real,
        lambda x, y: torch.view_as_real(torch.complex(x, y) ** 2).prod(-1),
        lambda x, y: torch.stack([x, y], -1).amax(-1).logsumexp(1) + x.norm(dim=0),
        lambda x, y: F.cross_entropy(x, y.softmax(1), reduction="none", label_smoothing=0.1),
        lambda x, y: F.embedding(TOKENS, torch.cat([x, y])) * 2,
        lambda x, y: x.T.mT * y.H + x.real + torch.view_as_complex(y.view(4, 2, 2)).abs().sum(),
        lambda x, y: F.pixel_shuffle(x.view(4, 2, 2), 2) * y.sum() + F.pad(y, (1, 1))[:, :4],
        lambda x, y: x.float().double() * y.float().double(),
        lambda x, y: x.std(0) * y.var(1) + torch.std_mean(x, 1)[1] + torch.var_mean(y)[0],
        lambda x, y: torch.tensor_split(x, 2, 1)[1].prod(1) * torch.meshgrid(x[0], y[0])[1],
        lambda x, y: F.max_pool2d(x[None, None], 2, return_indices=True)[0] * y.sum(),
        lambda x, y: F.adaptive_avg_pool1d(x, 3) * F.lp_pool1d(y.abs()[None], 2.0, 2)[0].sum(),
    ],
)
def test_operators(call):
    observe(call, rand(4, 4), rand(4, 4, seed=1), tolerance=1e-6)


@pytest.mark.parametrize(
    "call",
    [
        lambda x, y: F.grid_sample(x[None, None], POINTS * y[0, 0].cos(), align_corners=False),
        lambda x, y: F.grid_sample(
            x[None, None], POINTS, padding_mode="border", align_corners=True
        ),
        lambda x, y: torch.sparse.mm(W.to_sparse(), x) * y,
        lambda x, y: torch.vmap(lambda a: a.sin() * y)(x),
        lambda x, y: F.ctc_loss(
            x[:, None].log_softmax(-1).expand(4, 2, 4),
            torch.tensor([[1, 2], [3, 1]]),
            (4, 3),
            (2, 1),
            reduction="none",
        ),
        lambda x, y: F.cosine_similarity(x, y) + F.pairwise_distance(x, y) + torch.cdist(x, y),
        lambda x, y: torch.nested.as_nested_tensor([x, y[:2]]).to_padded_tensor(0.0),
        lambda x, y: x.to_sparse().to_dense() * y,
        lambda x, y: F.triplet_margin_with_distance_loss(
            x, y, x * 0, distance_function=lambda a, b: ((a - b) * y).norm(dim=1), reduction="none"
        ),
    ],
)
def test_operators_that_have_no_forward_mode_or_hide_tensors(call):
    observe(call, rand(4, 4), rand(4, 4, seed=1), expect=EITHER)


class ComplexParameter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.real = nn.Parameter(torch.randn(3, 3))

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.view_as_complex(torch.stack([self.real, self.real.sin()], -1))
        return (weight @ x.to(weight.dtype)).abs().square()


def test_complex_numbers():
    observe_module(ComplexParameter, rand(3, 2))


def test_tied_weights():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(5, 3)
            self.head = nn.Linear(3, 5)
            self.head.weight = self.words.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.words(x).tanh())

    observe_module(Tied, TOKENS)
