"""Small problems in float64, each made afresh from a fixed seed.

A problem is a function that returns a `Case`. It is run with float64 as the default dtype and a
fixed seed, so two calls give two equal, unrelated cases.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from tests.device import accelerators, random_state, set_random_state

NOISY, TRUSTED, CLASSES = 5, 4, 3
SEED = 8  # with it, in every problem some samples agree with the trusted batch


@dataclass
class Case:
    """One model, one noisy batch, one trusted batch; `last` names the last layer executed."""

    model: nn.Module
    noisy: Any
    trusted: Any
    last: str
    loss: Callable[[Any, Any], Tensor] | None = None
    forward: Callable[[nn.Module, Any], Tensor] | None = None
    functional: bool = True  # False where torch.func.functional_call cannot be trusted
    forward_mode: bool = True  # False where PyTorch has no forward-mode rule for an operator
    twice: bool = True  # False where the backward pass of an operator cannot be differentiated

    @property
    def exact(self) -> str:
        """An exact method that needs no forward-mode rule."""
        return "double_backward" if self.twice else "per_sample"

    def losses(self, model: nn.Module, batch: Any) -> Tensor:
        """The losses as the user's own loop would compute them: (C,) or a map (C, ...)."""
        if self.forward is not None:
            return self.forward(model, batch)
        inputs, target = batch
        if isinstance(inputs, dict):
            output = model(**inputs)
        elif isinstance(inputs, (tuple, list)):
            output = model(*inputs)
        else:
            output = model(inputs)
        return self.loss(output, target)

    def sample_losses(self, model: nn.Module, batch: Any) -> Tensor:
        """One loss a sample: a map is averaged over everything but its first dimension."""
        return per_sample(self.losses(model, batch))


def per_sample(losses: Tensor) -> Tensor:
    return losses.flatten(1).mean(1) if losses.dim() > 1 else losses


@contextlib.contextmanager
def _streams_put_back() -> Iterator[None]:
    before = random_state()
    try:
        yield
    finally:
        set_random_state(before)


@contextlib.contextmanager
def float64(seed: int = SEED) -> Iterator[None]:
    before = torch.get_default_dtype()
    with _streams_put_back():
        torch.manual_seed(seed)
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


PROBLEMS: dict[str, Callable[[], Case]] = {}
"""Every problem by name."""


def problem(function: Callable[[], Case]) -> Callable[[], Case]:
    def make() -> Case:
        with float64():
            return function()

    PROBLEMS[function.__name__] = make
    return make


# Losses and batches ------------------------------------------------------------------------------


def cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output, target, reduction="none")


def squared_error(output: Tensor, target: Tensor) -> Tensor:
    return F.mse_loss(output, target, reduction="none")


def batches(make: Callable[[int], Any]) -> dict[str, Any]:
    return {"noisy": make(NOISY), "trusted": make(TRUSTED)}


def classified(*shape: int) -> dict[str, Any]:
    return batches(lambda n: (torch.randn(n, *shape), torch.randint(CLASSES, (n,))))


def regressed(shape: tuple[int, ...], target: tuple[int, ...]) -> dict[str, Any]:
    return batches(lambda n: (torch.randn(n, *shape), torch.randn(n, *target)))


def tokens(length: int = 4, words: int = 7) -> dict[str, Any]:
    return batches(
        lambda n: (torch.randint(words, (n, length)), torch.randint(CLASSES, (n,))),
    )


# Feed-forward ------------------------------------------------------------------------------------


@problem
def mlp() -> Case:
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, CLASSES))
    return Case(model, last="2", loss=nn.CrossEntropyLoss(reduction="none"), **classified(6))


@problem
def no_bias() -> Case:
    model = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, CLASSES, bias=False))
    return Case(model, last="2", loss=cross_entropy, **classified(6))


@problem
def dropout() -> Case:
    model = nn.Sequential(
        nn.Linear(6, 16), nn.Dropout(0.5), nn.Tanh(), nn.Linear(16, CLASSES), nn.Dropout(0.2)
    )
    return Case(model, last="3", loss=cross_entropy, **classified(6))


@problem
def inplace_relu_last() -> Case:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Linear(8, 4))
    model.append(nn.ReLU(inplace=True))
    return Case(model, last="2", loss=squared_error, **regressed((6,), (4,)))


class Frozen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(6, 8)
        self.body = nn.Linear(8, 8)
        self.head = nn.Linear(8, CLASSES)
        self.stem.requires_grad_(False)
        self.body.bias.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.body(torch.tanh(self.stem(x)))))


@problem
def frozen() -> Case:
    return Case(Frozen(), last="head", loss=cross_entropy, **classified(6))


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(6, 8)
        self.head = nn.Linear(8, CLASSES)
        self.spare = nn.Linear(3, 3)
        self.left_over = nn.Parameter(torch.randn(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.body(x)))


@problem
def unused() -> Case:
    return Case(Unused(), last="head", loss=cross_entropy, **classified(6))


class Scalars(nn.Module):
    """Parameters of no dimension, held by the root module itself."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1.3))
        self.shift = nn.Parameter(torch.tensor(-0.2))
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.sin(self.gain * x + self.shift))


@problem
def scalar_parameters() -> Case:
    return Case(Scalars(), last="head", loss=cross_entropy, **classified(6))


# Convolution and normalisation -------------------------------------------------------------------


def convnet(norm: Callable[[int], nn.Module]) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        norm(4),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 4, 3, stride=2),
        norm(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, CLASSES),
    )


def with_statistics(model: nn.Module) -> nn.Module:
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_()
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2.0)
    return model


@problem
def batchnorm_train() -> Case:
    model = with_statistics(convnet(nn.BatchNorm2d))
    return Case(model, last="8", loss=cross_entropy, **classified(2, 6, 6))


@problem
def batchnorm_eval() -> Case:
    model = with_statistics(convnet(nn.BatchNorm2d)).eval()
    return Case(model, last="8", loss=cross_entropy, **classified(2, 6, 6))


@problem
def groupnorm() -> Case:
    model = convnet(lambda channels: nn.GroupNorm(2, channels))
    return Case(model, last="8", loss=cross_entropy, **classified(2, 6, 6))


@problem
def instancenorm() -> Case:
    model = convnet(lambda n: nn.InstanceNorm2d(n, affine=True, track_running_stats=True))
    return Case(with_statistics(model), last="8", loss=cross_entropy, **classified(2, 6, 6))


class ResidualBlock(nn.Module):
    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Conv2d(width_in, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        y += self.shortcut(x)
        return self.relu(y)


@problem
def resnet() -> Case:
    model = nn.Sequential(ResidualBlock(2, 4), nn.MaxPool2d(2), ResidualBlock(4, 4), nn.Flatten())
    model.append(nn.Linear(36, CLASSES))
    return Case(with_statistics(model), last="4", loss=cross_entropy, **classified(2, 6, 6))


class UNet3d(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down1 = nn.Conv3d(1, 3, 3, padding=1)
        self.norm1 = nn.BatchNorm3d(3, affine=False)
        self.act = nn.PReLU()
        self.down2 = nn.Conv3d(3, 4, 3, stride=2, padding=1)
        self.norm2 = nn.InstanceNorm3d(4, affine=True)
        self.up = nn.ConvTranspose3d(4, 3, 3, stride=2, padding=1, output_padding=1)
        self.head = nn.Conv3d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.act(self.norm1(self.down1(x)))
        low = self.act(self.norm2(self.down2(skip)))
        return self.head(torch.cat([skip, self.up(low)], 1))


@problem
def unet3d() -> Case:
    """A map of voxel losses, (C, D, H, W)."""
    data = batches(lambda n: (torch.randn(n, 1, 4, 4, 2), torch.randint(2, (n, 4, 4, 2))))
    return Case(UNet3d(), last="head", loss=cross_entropy, **data)


@problem
def voxel_map() -> Case:
    model = nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.Tanh(), nn.Conv3d(2, 1, 3, padding=1))
    return Case(model, last="2", loss=squared_error, **regressed((1, 3, 3, 2), (1, 3, 3, 2)))


def head_after_conv(head: nn.Module, output: tuple[int, ...]) -> Case:
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Tanh(), head)
    return Case(model, last="2", loss=squared_error, **regressed((2, 5, 5), output))


@problem
def grouped_conv_head() -> Case:
    return head_after_conv(nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), (6, 3, 3))


@problem
def dilated_same_conv_head() -> Case:
    return head_after_conv(nn.Conv2d(4, 2, 3, padding="same", dilation=2), (2, 5, 5))


@problem
def circular_conv_head() -> Case:
    return head_after_conv(nn.Conv2d(4, 2, 3, padding=1, padding_mode="circular"), (2, 5, 5))


@problem
def transposed_conv_head() -> Case:
    head = nn.ConvTranspose2d(4, 4, 3, stride=2, padding=1, output_padding=1, groups=2)
    return head_after_conv(head, (4, 10, 10))


@problem
def conv1d_head() -> Case:
    model = nn.Sequential(nn.Conv1d(2, 4, 3), nn.Tanh(), nn.Conv1d(4, 3, 2, stride=2))
    return Case(model, last="2", loss=squared_error, **regressed((2, 8), (3, 3)))


@problem
def coupled_head() -> Case:
    """Batch normalisation *after* the last layer: each loss depends on every sample's output."""
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, CLASSES))
    model.append(nn.BatchNorm1d(CLASSES, affine=False))
    return Case(model, last="2", loss=cross_entropy, **classified(6))


# Sequences ---------------------------------------------------------------------------------------


@problem
def linear_sequence() -> Case:
    """The last layer sees (C, T, H)."""
    model = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 2))
    return Case(model, last="2", loss=squared_error, **regressed((4, 3), (4, 2)))


class Flattened(nn.Module):
    """The first dimension of the last layer's input is C * T, not C."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(3, 6)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        flat = torch.tanh(self.body(x)).flatten(0, 1)
        return self.head(flat).reshape(*x.shape[:2], 2)


@problem
def flattened() -> Case:
    return Case(Flattened(), last="head", loss=squared_error, **regressed((4, 3), (4, 2)))


class TimeFirst(nn.Module):
    """The samples lie along the second dimension of the last layer's input."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(3, 6)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.body(x.transpose(0, 1)))).transpose(0, 1)


@problem
def time_first() -> Case:
    """As many time steps as samples, so that shapes alone cannot tell them apart."""
    return Case(TimeFirst(), last="head", loss=squared_error, **regressed((NOISY, 3), (NOISY, 2)))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 8)
        self.projection = nn.Linear(8, 24)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        n, length = x.shape
        qkv = self.projection(self.embedding(x)).reshape(n, length, 3, 2, 4)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, length, 8)
        return self.head(y.mean(1))


@problem
def attention() -> Case:
    return Case(Attention(), last="head", loss=cross_entropy, **tokens())


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 8)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.2, batch_first=True)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.embedding(x)).mean(1))


@problem
def transformer_train() -> Case:
    return Case(Transformer(), last="head", loss=cross_entropy, **tokens())


@problem
def transformer_eval() -> Case:
    return Case(Transformer().eval(), last="head", loss=cross_entropy, **tokens())


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 5, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(10, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])


@problem
def lstm() -> Case:
    return Case(
        Recurrent(),
        last="head",
        loss=cross_entropy,
        # Before PyTorch 2.13 functional_call leaves nn.LSTM's flat weights as they are.
        functional=False,
        # By cuDNN, whose operator has neither a forward-mode rule nor a second derivative.
        forward_mode=not accelerators(),
        twice=not accelerators(),
        **classified(4, 3),
    )


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 5)
        self.body = nn.Linear(5, 5)
        self.head = nn.Linear(5, 7)
        self.head.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.body(self.embedding(x)))).transpose(1, 2)


@problem
def tied() -> Case:
    data = batches(lambda n: (torch.randint(7, (n, 4)), torch.randint(7, (n, 4))))
    return Case(Tied(), last="head", loss=cross_entropy, **data)


# Inputs and outputs of other shapes --------------------------------------------------------------


class TwoByTwo(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Linear(4, 6)
        self.right = nn.Linear(3, 6)
        self.classes = nn.Linear(6, CLASSES)
        self.value = nn.Linear(6, 1)

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.tanh(self.left(left) * self.right(right))
        return self.classes(hidden), self.value(hidden).squeeze(1)


def two_losses(output: tuple[Tensor, Tensor], target: tuple[Tensor, Tensor]) -> Tensor:
    return cross_entropy(output[0], target[0]) + squared_error(output[1], target[1])


@problem
def two_inputs_two_outputs() -> Case:
    data = batches(
        lambda n: (
            (torch.randn(n, 4), torch.randn(n, 3)),
            (torch.randint(CLASSES, (n,)), torch.randn(n)),
        )
    )
    return Case(TwoByTwo(), last="value", loss=two_losses, **data)


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(6, 8)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, *, features: Tensor, scale: Tensor) -> dict[str, Tensor]:
        hidden = torch.tanh(self.body(features)) * scale
        return {"hidden": hidden, "logits": self.head(hidden)}


def logits_cross_entropy(output: dict[str, Tensor], target: Tensor) -> Tensor:
    return cross_entropy(output["logits"], target)


@problem
def dictionaries() -> Case:
    data = batches(
        lambda n: (
            {"features": torch.randn(n, 6), "scale": torch.rand(n, 1)},
            torch.randint(CLASSES, (n,)),
        )
    )
    return Case(Named(), last="head", loss=logits_cross_entropy, **data)


class SharedHead(nn.Module):
    """The last layer is called twice in one forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 6)
        self.head = nn.Linear(6, 2)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        first, second = (self.head(torch.tanh(self.body(x))) for x in (left, right))
        return first * second


@problem
def shared_head() -> Case:
    data = batches(lambda n: ((torch.randn(n, 4), torch.randn(n, 4)), torch.randn(n, 2)))
    return Case(SharedHead(), last="head", loss=squared_error, **data)


@dataclass
class Scan:
    """A batch that means nothing to anybody but its own forward function."""

    image: Tensor
    label: Tensor


def scan_losses(model: nn.Module, scan: Scan) -> Tensor:
    probabilities = model(scan.image).softmax(1)
    return 1 - probabilities[torch.arange(len(scan.label)), scan.label]


@problem
def opaque_batch() -> Case:
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, CLASSES))
    data = batches(lambda n: Scan(torch.randn(n, 6), torch.randint(CLASSES, (n,))))
    return Case(model, last="2", forward=scan_losses, **data)


# Weights that are themselves computed ------------------------------------------------------------


def reparametrised(norm: Callable[[nn.Module], nn.Module], **about: Any) -> Case:
    model = nn.Sequential(norm(nn.Linear(6, 8)), nn.Tanh(), norm(nn.Linear(8, 8)), nn.Tanh())
    model.append(nn.Linear(8, CLASSES))
    return Case(model, last="4", loss=cross_entropy, **classified(6), **about)


@problem
def spectral_norm_hook() -> Case:
    return reparametrised(torch.nn.utils.spectral_norm)


@problem
def spectral_norm_parametrized() -> Case:
    return reparametrised(parametrizations.spectral_norm)


@problem
def weight_norm_hook() -> Case:
    return reparametrised(torch.nn.utils.weight_norm, forward_mode=False)


@problem
def weight_norm_parametrized() -> Case:
    return reparametrised(parametrizations.weight_norm, forward_mode=False)


class Checkpointed(nn.Module):
    """Activations are computed again during the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.3), nn.Tanh(), nn.Linear(8, 8))
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(checkpoint(self.body, x, use_reentrant=False)))


@problem
def checkpointed() -> Case:
    # The recomputation runs after functional_call has put the model's own parameters back.
    return Case(Checkpointed(), last="head", loss=cross_entropy, functional=False, **classified(6))
