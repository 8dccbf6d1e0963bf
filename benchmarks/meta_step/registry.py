"""The models that steps are measured on, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.meta_step.networks import (
    GPT2,
    Bert,
    ConvNeXt,
    Llama,
    ResNet18,
    Transformer,
    UNet,
    ViT,
    add_lora,
    build_mlp,
)
from benchmarks.meta_step.networks.unet import batch_norm, group_norm
from benchmarks.meta_step.problem import Batch, Loss

_CLASSES = 10
_WORDS = 1000
_VOCABULARY = 5000
_GPT2_VOCABULARY = 50257
_TINY_VOCABULARY = 100
_FEATURES = 784
_FEW_FEATURES = 16


@dataclass(frozen=True)
class Model:
    """A model of the registry.

    Attributes:
        describes: The model in words; ``{size}`` and ``{batch}`` are filled in.
        size: Its default size.
        batch: Default number of noisy samples, and of trusted ones.
        build: From the size to the network.
        sample: From number of samples and size to inputs and labels, on the default device.
        wants: From a size to what is wrong with it, or ``None``.
        loss: Of outputs and labels, one value a sample or a map of them; cross-entropy of classes
            if ``None``.
    """

    describes: str
    size: int
    batch: int
    build: Callable[[int], nn.Module]
    sample: Callable[[int, int], Batch]
    wants: Callable[[int], str | None]
    loss: Loss | None = None


def token_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of every token, ``(C, T)``; a sample's loss is their mean.

    Args:
        logits: ``(C, T, words)``.
        labels: Word numbers, ``(C, T)``.
    """
    flat = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return flat.view_as(labels)


def _classes(count: int) -> Tensor:
    return torch.randint(0, _CLASSES, (count,))


def _unet(size: int) -> nn.Module:  # noqa: ARG001  (fully convolutional)
    try:
        # MONAI takes seconds to import, which the other models need not wait for.
        from support.unet import build_network
    except ModuleNotFoundError:
        return UNet(batch_norm)  # the same network
    return build_network()


def _resnet18(size: int) -> nn.Module:  # noqa: ARG001
    try:
        from monai.networks.nets import resnet18
    except ModuleNotFoundError:
        return ResNet18(_CLASSES)  # the same network
    network: nn.Module = resnet18(spatial_dims=2, n_input_channels=3, num_classes=_CLASSES)
    return network


def _volumes(count: int, size: int) -> Batch:
    shape = (count, size, size, size)
    return torch.randn(count, 1, size, size, size), torch.randint(0, 2, shape)


def _images(count: int, size: int) -> Batch:
    return torch.randn(count, 3, size, size), _classes(count)


def _texts(words: int) -> Callable[[int, int], Batch]:
    return lambda count, size: (torch.randint(1, words, (count, size)), _classes(count))


def _next_words(words: int) -> Callable[[int, int], Batch]:
    def sample(count: int, size: int) -> Batch:
        text = torch.randint(0, words, (count, size + 1))
        return text[:, :-1].contiguous(), text[:, 1:].contiguous()

    return sample


def _llama_lora(size: int) -> nn.Module:  # noqa: ARG001
    network = Llama(_VOCABULARY, dim=256, depth=4, heads=8, groups=4, hidden=688)
    return add_lora(network, ("q", "v"), rank=8)


def _at_least(least: int, multiple: int = 1) -> Callable[[int], str | None]:
    wanted = f"at least {least}" if multiple == 1 else f"a multiple of {multiple}, >= {least}"
    return lambda size: None if size >= least and size % multiple == 0 else wanted


def _gpt2(words: int) -> Model:
    return Model(
        f"GPT-2 of 2 blocks, 128 features, vocabulary of {words:,}, "
        "{batch} sequences of {size} tokens",
        size=64,
        batch=8,
        build=lambda size: GPT2(words, size),
        sample=_next_words(words),
        wants=_at_least(1),
        loss=token_losses,
    )


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
        sample=_images,
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
    "unet-groupnorm": Model(
        "3D U-Net with group normalisation, {batch} volumes of 1 × {size}³",
        size=48,
        batch=4,
        build=lambda size: UNet(group_norm),  # noqa: ARG005
        sample=_volumes,
        wants=_at_least(16, 16),
    ),
    "gpt2": _gpt2(_VOCABULARY),
    "gpt2-large-vocabulary": _gpt2(_GPT2_VOCABULARY),
    "bert": Model(
        "BERT of 2 layers, 128 features, dropout 0.1, {batch} sequences of {size} tokens",
        size=64,
        batch=16,
        build=lambda size: Bert(_VOCABULARY, _CLASSES, size),
        sample=_texts(_VOCABULARY),
        wants=_at_least(1),
    ),
    "vit": Model(
        "vision transformer of 4 blocks, 192 features, {batch} images of 3 × {size}²",
        size=64,
        batch=32,
        build=lambda size: ViT(size, _CLASSES),
        sample=_images,
        wants=_at_least(8, 8),
    ),
    "convnext": Model(
        "ConvNeXt of 24 to 192 channels, {batch} images of 3 × {size}²",
        size=64,
        batch=32,
        build=lambda size: ConvNeXt(_CLASSES),  # noqa: ARG005
        sample=_images,
        wants=_at_least(32, 32),
    ),
    "llama-lora": Model(
        "Llama of 4 blocks, 256 features, 4 key heads of 8, LoRA of rank 8 on q and v, "
        "{batch} sequences of {size} tokens",
        size=64,
        batch=8,
        build=_llama_lora,
        sample=_next_words(_VOCABULARY),
        wants=_at_least(1),
        loss=token_losses,
    ),
    "llama-tiny": Model(
        "Llama of 4 blocks, 32 features (the host is the limit), {batch} sequences of {size} "
        "tokens",
        size=16,
        batch=8,
        build=lambda size: Llama(_TINY_VOCABULARY, 32, depth=4, heads=4, groups=2, hidden=64),  # noqa: ARG005
        sample=_next_words(_TINY_VOCABULARY),
        wants=_at_least(1),
        loss=token_losses,
    ),
    "mlp-small": Model(
        "multilayer perceptron, 20 hidden layers of {size} (the host is the limit), {batch} "
        "vectors",
        size=16,
        batch=8,
        build=lambda size: build_mlp(_FEW_FEATURES, _CLASSES, size, 20),
        sample=lambda count, size: (torch.randn(count, _FEW_FEATURES), _classes(count)),  # noqa: ARG005
        wants=_at_least(1),
    ),
}
"""By name. ``size`` is a side in voxels or pixels, a length in tokens, or a width."""
