"""The models that steps are measured on, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.meta_step.networks import Transformer, build_mlp
from benchmarks.meta_step.problem import Batch, Problem

_CLASSES = 10
_WORDS = 1000
_FEATURES = 784


@dataclass(frozen=True)
class Setup:
    """One model at one size on one device: what a measurement depends on.

    Attributes:
        model: Its name in :data:`MODELS`.
        size: What it means is the model's to say.
        batch: Noisy samples, C_p.
        trusted_batch: Trusted samples, C_v.
        device: As ``torch.device`` reads it.
        dtype: Of parameters and inputs, by its name in ``torch``.
        amp: Dtype of autocast by its name in ``torch``, or ``None``.
        compile: Whether the trained model is compiled.
        seed: Of the initial weights and the data.
        threads: CPU threads, or ``None`` for PyTorch's own choice.
    """

    model: str
    size: int
    batch: int
    trusted_batch: int
    device: str = "cpu"
    dtype: str = "float32"
    amp: str | None = None
    compile: bool = False
    seed: int = 0
    threads: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the attributes by name."""
        return asdict(self)


@dataclass(frozen=True)
class Model:
    """A model of the registry.

    Attributes:
        describes: The model in words; ``{size}`` and ``{batch}`` are filled in.
        size: Its default size.
        batch: Default number of noisy samples, and of trusted ones.
        build: From the size to the network.
        sample: From number of samples and size to inputs and labels.
        wants: From a size to what is wrong with it, or ``None``.
    """

    describes: str
    size: int
    batch: int
    build: Callable[[int], nn.Module]
    sample: Callable[[int, int], Batch]
    wants: Callable[[int], str | None]


def _classes(count: int) -> Tensor:
    return torch.randint(0, _CLASSES, (count,))


def _unet(size: int) -> nn.Module:  # noqa: ARG001  (fully convolutional)
    # MONAI takes seconds to import, which the other models need not wait for.
    from support.unet import build_network

    return build_network()


def _resnet18(size: int) -> nn.Module:  # noqa: ARG001
    from monai.networks.nets import resnet18

    network: nn.Module = resnet18(spatial_dims=2, n_input_channels=3, num_classes=_CLASSES)
    return network


def _volumes(count: int, size: int) -> Batch:
    shape = (count, size, size, size)
    return torch.randn(count, 1, size, size, size), torch.randint(0, 2, shape)


def _at_least(least: int, multiple: int = 1) -> Callable[[int], str | None]:
    wanted = f"at least {least}" if multiple == 1 else f"a multiple of {multiple}, >= {least}"
    return lambda size: None if size >= least and size % multiple == 0 else wanted


MODELS: dict[str, Model] = {
    "unet": Model(
        "3D U-Net of the paper's Table 1, {batch} volumes of 1 × {size}³",
        size=48,
        batch=4,
        build=_unet,
        sample=_volumes,
        wants=_at_least(32, 16),
    ),
    "resnet18": Model(
        "ResNet-18, {batch} images of 3 × {size}²",
        size=64,
        batch=32,
        build=_resnet18,
        sample=lambda count, size: (torch.randn(count, 3, size, size), _classes(count)),
        wants=_at_least(32),
    ),
    "transformer": Model(
        "transformer of 4 blocks, 128 features, {batch} sequences of {size} tokens",
        size=64,
        batch=32,
        build=lambda size: Transformer(_WORDS, _CLASSES),  # noqa: ARG005
        sample=lambda count, size: (torch.randint(0, _WORDS, (count, size)), _classes(count)),
        wants=_at_least(1),
    ),
    "mlp": Model(
        "multilayer perceptron, 3 hidden layers of {size}, {batch} vectors",
        size=1024,
        batch=128,
        build=lambda size: build_mlp(_FEATURES, _CLASSES, size, 3),
        sample=lambda count, size: (torch.randn(count, _FEATURES), _classes(count)),  # noqa: ARG005
        wants=_at_least(1),
    ),
}
"""By name. ``size`` is a side in voxels or pixels, a length in tokens, or a width."""


def describe(setup: Setup, parameters: int) -> str:
    """Return the setup in one line of words."""
    batch = f"{setup.batch} noisy + {setup.trusted_batch} trusted"
    words = [MODELS[setup.model].describes.format(size=setup.size, batch=batch)]
    words += [f"{parameters:,} parameters", setup.dtype]
    words += [f"autocast to {setup.amp}"] if setup.amp else []
    words += ["compiled"] if setup.compile else []
    return ", ".join([*words, f"seed {setup.seed}"])


def build_problem(setup: Setup) -> Problem:
    """Return the problem, the same for the same setup."""
    if setup.threads is not None:
        torch.set_num_threads(setup.threads)
    model = MODELS[setup.model]
    device, dtype = torch.device(setup.device), getattr(torch, setup.dtype)
    torch.manual_seed(setup.seed)
    module = model.build(setup.size).to(device, dtype)

    def batch(count: int) -> Batch:
        inputs, labels = model.sample(count, setup.size)
        inputs = inputs.to(device, dtype if inputs.is_floating_point() else None)
        return inputs, labels.to(device)

    return Problem(
        module,
        batch(setup.batch),
        batch(setup.trusted_batch),
        amp=getattr(torch, setup.amp) if setup.amp else None,
        compiled=setup.compile,
    )
