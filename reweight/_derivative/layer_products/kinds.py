"""Which operators products are written for."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from reweight._derivative.layer_products import small
from reweight._derivative.layer_products.affine import Affine, is_affine
from reweight._derivative.layer_products.convolution import Convolution
from reweight._derivative.layer_products.embedding import Embedding
from reweight._derivative.layer_products.other import Other
from reweight._derivative.layer_products.parts import Part
from reweight._derivative.layer_products.uses import Use
from reweight._torch_internals import saved

_KINDS: dict[str, Callable[[Use, Tensor], Part]] = {
    "AddBackward0": small.addition,
    "SubBackward0": small.addition,
    "ExpandBackward0": small.addition,
    "MulBackward0": small.product,
    "PreluKernelBackward0": small.slopes,
    "NativeLayerNormBackward0": small.layer_norm,
    "FusedRmsNormBackward0": small.rms_norm,
    "NativeGroupNormBackward0": small.group_norm,
    "ConvolutionBackward0": Convolution,
    "EmbeddingBackward0": Embedding,
}


def part_of(use: Use, delta: Tensor) -> Part:
    """Return what ``use`` has to do with the gradients of the samples.

    Args:
        use: A use of weights.
        delta: The gradient of the summed losses by what it returned.

    Raises:
        NotByLayers: If none of the ways goes.
    """
    name = use.made.node.name()
    if name in ("AddmmBackward0", "MmBackward0") and is_affine(use):
        return Affine(use, delta)
    if name == "NativeBatchNormBackward0" and not saved(use.made.node, "training"):
        return small.batch_norm(use, delta)
    return _KINDS.get(name, Other)(use, delta)
