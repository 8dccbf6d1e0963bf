"""How each operator of PyTorch's hands on the side that the samples lie along.

A rule is told where the samples lie in what an operator returned, and says where they lie in what
it was given: along one side, or nowhere (``None``: every sample is computed from all of it, as
from a weight). It raises :class:`NotByLayers` where the operator may mix samples. An operator
without a rule may do anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.autograd.graph import Node

from reweight._derivative.layer_products.samples import (
    NotByLayers,
    Samples,
    Shape,
    broadcast,
    reshaped,
)
from reweight._torch_internals import saved, saved_dimensions

Sides = list[Samples | None]


@dataclass(frozen=True, slots=True)
class Made:
    """A result of an operator.

    Attributes:
        node: The operator, as the graph has it.
        number: Which of its results.
        shape: The result's shape.
        at: Where the samples lie in it.
        given: Shapes of the operands, ``None`` for one that needs no gradient.
        count: How many samples there are.
    """

    node: Node
    number: int
    shape: Shape
    at: Samples
    given: list[Shape | None]
    count: int

    def mixes(self) -> NotByLayers:
        """Return the refusal."""
        return NotByLayers(
            f"{self.node.name()} may mix samples (they lie along side {self.at.side} of its result "
            f"of shape {self.shape})"
        )

    def dimensions(self, sides: int) -> list[int]:
        """Return the dimensions that the operator was asked to work along, of ``sides``."""
        found = saved_dimensions(self.node)
        if found is None:
            raise self.mixes()
        return [d % sides for d in found]

    def first(self) -> Shape:
        """Return the first operand's shape."""
        shape = self.given[0]
        if shape is None:
            raise self.mixes()
        return shape


def _elementwise(made: Made) -> Sides:
    return [None if s is None else broadcast(made.at, made.shape, s) for s in made.given]


def _reshape(made: Made) -> Sides:
    found = reshaped(made.at, made.shape, made.first(), made.count)
    if found is None:
        raise made.mixes()
    return [found]


def _permuted(made: Made) -> Sides:
    return [made.at._replace(side=made.dimensions(len(made.shape))[made.at.side])]


def _transposed(made: Made) -> Sides:
    if made.node.name() == "TBackward0":
        return [made.at._replace(side=len(made.shape) - 1 - made.at.side)]
    one, other = made.dimensions(len(made.shape))
    side = {one: other, other: one}.get(made.at.side, made.at.side)
    return [made.at._replace(side=side)]


def _along(made: Made) -> Sides:
    """The shape stays, and so does every side but those worked along."""
    if made.at.side in made.dimensions(len(made.shape)):
        raise made.mixes()
    return _beside(made)


def _beside(made: Made) -> Sides:
    """The side of the samples is as long in the operands as in the result."""
    side = made.at.side
    for shape in made.given:
        if shape is not None and (len(shape) != len(made.shape) or shape[side] != made.shape[side]):
            raise made.mixes()
    return [None if shape is None else made.at for shape in made.given]


def _reduced(made: Made) -> Sides:
    """Some sides of the operand are gone, or are of length 1."""
    given = made.first()
    gone = set(made.dimensions(len(given)))
    kept = [d for d in range(len(given)) if d not in gone or len(given) == len(made.shape)]
    if len(kept) != len(made.shape):
        raise made.mixes()
    side = kept[made.at.side]
    if side in gone or given[side] != made.shape[made.at.side]:
        raise made.mixes()
    return [made.at._replace(side=side)]


def _stacked(made: Made) -> Sides:
    (new,) = made.dimensions(len(made.shape))
    if made.at.side == new:
        raise made.mixes()
    at = made.at._replace(side=made.at.side - (made.at.side > new))
    return [None if shape is None else at for shape in made.given]


def _unstacked(made: Made) -> Sides:
    (gone,) = made.dimensions(len(made.first()))
    return [made.at._replace(side=made.at.side + (made.at.side >= gone))]


def _front(made: Made) -> Sides:
    """The first side stays; the other operands are weights."""
    given = made.given[0]
    if made.at.side != 0 or (given is not None and given[0] != made.shape[0]):
        raise made.mixes()
    return [made.at, *[None] * (len(made.given) - 1)]


def _matrices(made: Made) -> Sides:
    """``a @ b`` of two matrices: rows come from ``a``, columns from ``b``."""
    return [made.at, None] if made.at.side == 0 else [None, made.at]


def _sum_and_matrices(made: Made) -> Sides:
    return [*_elementwise(made)[:1], *_matrices(made)]


def _matrix_and_vector(made: Made) -> Sides:
    return [made.at, None]


def _batched_matrices(made: Made) -> Sides:
    side = made.at.side
    return [made.at if side in (0, 1) else None, made.at if side in (0, 2) else None]


def _sum_and_batched_matrices(made: Made) -> Sides:
    return [*_elementwise(made)[:1], *_batched_matrices(made)]


def _linear(made: Made) -> Sides:
    if made.at.side == len(made.shape) - 1:
        raise made.mixes()
    return [made.at, None, None]


def _weight(made: Made) -> Sides:  # noqa: ARG001 - whatever is looked up, it is looked up in this
    return [None]


def _layer_norm(made: Made) -> Sides:
    normalized = len(saved(made.node, "normalized_shape"))
    if made.number != 0 or made.at.side >= len(made.shape) - normalized:
        raise made.mixes()
    return [made.at, None, None]


def _group_norm(made: Made) -> Sides:
    if made.number != 0 or made.at.side != 0:
        raise made.mixes()
    return [made.at, None, None]


def _batch_norm(made: Made) -> Sides:
    if made.number != 0:
        raise made.mixes()
    if made.at.side == 1:  # instance normalisation: channels of samples
        own = Samples(0, made.at.within)
        return [made.at, own, own]
    if saved(made.node, "training"):
        raise NotByLayers("batch normalisation in train mode computes every sample from all others")
    return [made.at, None, None]


def _repeated(made: Made) -> Sides:
    given = made.first()
    side = made.at.side - (len(made.shape) - len(given))
    if side < 0 or made.at.within % given[side] == 0:
        return [None]
    if given[side] != made.shape[made.at.side]:
        raise made.mixes()
    return [Samples(side, made.at.within)]


def _attention(made: Made) -> Sides:
    if made.number != 0 or made.at.side != 0:
        raise made.mixes()
    found: Sides = []
    for number, shape in enumerate(made.given):
        fits = shape is not None and len(shape) == 4 and shape[0] == made.shape[0]
        if number < 3 and shape is not None and not fits:
            raise made.mixes()
        found.append(made.at if fits else None)
    return found


def _class_loss(made: Made) -> Sides:
    side = made.at.side if made.at.side == 0 or len(made.shape) == 0 else made.at.side + 1
    return [made.at._replace(side=side), *[None] * (len(made.given) - 1)]


def _indexed(made: Made) -> Sides:
    indices = saved(made.node, "indices")
    which = [d for d, index in enumerate(indices) if index is not None]
    together = which == list(range(which[0], which[-1] + 1))
    if together and made.at.side < which[0]:  # sides before those that are indexed stay
        return [made.at]
    each = [indices[d] for d in which]
    if (
        which[0] == 0
        and made.at == (0, 1)
        and all(index.dim() <= 1 for index in each)
        and each[0].shape == (made.count,)
        # x[torch.arange(C), which]: of every sample its own
        and torch.equal(each[0], torch.arange(made.count, device=each[0].device))
        and made.first()[0] == made.count
    ):
        return [made.at]
    raise made.mixes()


def _padded(made: Made) -> Sides:
    pad = list(saved(made.node, "pad"))
    behind = 2 * (len(made.shape) - 1 - made.at.side)
    if any(pad[behind : behind + 2]):
        raise made.mixes()
    return [made.at]


_Rules = dict[str, Callable[[Made], Sides]]


def _named(rule: Callable[[Made], Sides], *names: str, variants: int = 3) -> _Rules:
    return {f"{name}Backward{variant}": rule for name in names for variant in range(variants)}


RULES: _Rules = {
    **_named(
        _elementwise,
        *("Abs", "Add", "Addcdiv", "Addcmul", "Alias", "Clamp", "ClampMax", "ClampMin", "Clone"),
        *("Cos", "Div", "Elu", "Erf", "Exp", "Exp2", "Expand", "Expm1", "Gelu", "Hardsigmoid"),
        *("Hardswish", "Hardtanh", "Huber", "HuberLoss", "LeakyRelu", "Lerp", "Log", "Log10"),
        *("Log1P", "Log2", "LogSigmoid", "Logaddexp", "MaskedFill", "Maximum", "Minimum", "Mish"),
        *("MseLoss", "Mul", "NanToNum", "NativeDropout", "Neg", "Pow", "PreluKernel"),
        *("Reciprocal", "Relu", "Rsqrt", "Rsub", "Sgn", "Sigmoid", "Silu", "Sin", "SmoothL1Loss"),
        *("SoftMarginLoss", "Softplus", "Softshrink", "Sqrt", "Sub", "Tanh", "Threshold"),
        *("ToCopy", "Where", "Xlogy", "BinaryCrossEntropy", "BinaryCrossEntropyWithLogits"),
        variants=4,
    ),
    **_named(_reshape, "View", "UnsafeView", "ReshapeAlias", "Unsqueeze", "Squeeze"),
    "PermuteBackward0": _permuted,
    **_named(_transposed, "T", "Transpose"),
    **_named(_along, "Softmax", "SafeSoftmax", "LogSoftmax", "Cumsum", "Flip", "Gather"),
    **_named(_beside, "Slice", "Cat"),
    **_named(_beside, "Split", "SplitWithSizes", "UnsafeSplit", "UnsafeSplitWithSizes"),
    **_named(_reduced, "Sum", "Mean", "Logsumexp", "Amax", "Amin", "Max", "Min", "Var", "Std"),
    **_named(_reduced, "LinalgVectorNorm", "Norm", "Prod"),
    "StackBackward0": _stacked,
    "SelectBackward0": _unstacked,
    "UnbindBackward0": _unstacked,
    "ConvolutionBackward0": _front,
    **_named(_front, "MaxPool2DWithIndices", "MaxPool3DWithIndices", "AvgPool2D", "AvgPool3D"),
    **_named(_front, "AdaptiveAvgPool2D", "AdaptiveAvgPool3D", "PixelShuffle", "PixelUnshuffle"),
    **_named(_front, "AdaptiveMaxPool2D", "AdaptiveMaxPool3D", "UpsampleNearest1D"),
    **_named(_front, "UpsampleNearest2D", "UpsampleNearest3D", "UpsampleLinear1D"),
    **_named(_front, "UpsampleBilinear2D", "UpsampleBicubic2D", "UpsampleTrilinear3D"),
    **_named(_front, "ReflectionPad1D", "ReflectionPad2D", "ReflectionPad3D"),
    **_named(_front, "ReplicationPad1D", "ReplicationPad2D", "ReplicationPad3D"),
    "MmBackward0": _matrices,
    "AddmmBackward0": _sum_and_matrices,
    "MvBackward0": _matrix_and_vector,
    "BmmBackward0": _batched_matrices,
    "BaddbmmBackward0": _sum_and_batched_matrices,
    "LinearBackward0": _linear,
    "EmbeddingBackward0": _weight,
    "NativeLayerNormBackward0": _layer_norm,
    "NativeGroupNormBackward0": _group_norm,
    **_named(_batch_norm, "NativeBatchNorm", "CudnnBatchNorm", "MiopenBatchNorm", variants=1),
    "RepeatBackward0": _repeated,
    "ScaledDotProductFlashAttentionForCpuBackward0": _attention,
    **_named(_attention, "ScaledDotProductFlashAttention", "ScaledDotProductCudnnAttention"),
    **_named(_attention, "ScaledDotProductEfficientAttention"),
    **_named(_class_loss, "NllLoss", "NllLoss2D"),
    "IndexBackward0": _indexed,
    "ConstantPadNdBackward0": _padded,
}
"""By the name of the graph's node."""


def sides_of(made: Made) -> Sides:
    """Return where the samples lie in each operand.

    Raises:
        NotByLayers: If the operator may mix them.
    """
    rule = RULES.get(made.node.name())
    if rule is None:
        raise NotByLayers(f"whether {made.node.name()} keeps samples apart is not known")
    return rule(made)
