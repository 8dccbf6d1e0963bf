"""Which rule says how an operator hands on the side that the samples lie along.

An operator without a rule may do anything.
"""

from __future__ import annotations

from collections.abc import Callable

from reweight._derivative.layer_products import sides
from reweight._derivative.layer_products.samples import NotByLayers
from reweight._derivative.layer_products.sides import Made, Sides

_Rules = dict[str, Callable[[Made], Sides]]


def _named(rule: Callable[[Made], Sides], *names: str, variants: int = 3) -> _Rules:
    return {f"{name}Backward{variant}": rule for name in names for variant in range(variants)}


RULES: _Rules = {
    **_named(
        sides.elementwise,
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
    **_named(sides.reshape, "View", "UnsafeView", "ReshapeAlias", "Unsqueeze", "Squeeze"),
    "PermuteBackward0": sides.permuted,
    **_named(sides.transposed, "T", "Transpose"),
    **_named(sides.along, "Softmax", "SafeSoftmax", "LogSoftmax", "Cumsum", "Flip", "Gather"),
    **_named(sides.beside, "Slice", "Cat"),
    **_named(sides.beside, "Split", "SplitWithSizes", "UnsafeSplit", "UnsafeSplitWithSizes"),
    **_named(sides.reduced, "Sum", "Mean", "Logsumexp", "Amax", "Amin", "Max", "Min", "Var", "Std"),
    **_named(sides.reduced, "LinalgVectorNorm", "Norm", "Prod"),
    "StackBackward0": sides.stacked,
    "SelectBackward0": sides.unstacked,
    "UnbindBackward0": sides.unstacked,
    "ConvolutionBackward0": sides.front,
    **_named(sides.front, "MaxPool2DWithIndices", "MaxPool3DWithIndices", "AvgPool2D", "AvgPool3D"),
    **_named(
        sides.front, "AdaptiveAvgPool2D", "AdaptiveAvgPool3D", "PixelShuffle", "PixelUnshuffle"
    ),
    **_named(sides.front, "AdaptiveMaxPool2D", "AdaptiveMaxPool3D", "UpsampleNearest1D"),
    **_named(sides.front, "UpsampleNearest2D", "UpsampleNearest3D", "UpsampleLinear1D"),
    **_named(sides.front, "UpsampleBilinear2D", "UpsampleBicubic2D", "UpsampleTrilinear3D"),
    **_named(sides.front, "ReflectionPad1D", "ReflectionPad2D", "ReflectionPad3D"),
    **_named(sides.front, "ReplicationPad1D", "ReplicationPad2D", "ReplicationPad3D"),
    "MmBackward0": sides.matrices,
    "AddmmBackward0": sides.sum_and_matrices,
    "MvBackward0": sides.matrix_and_vector,
    "BmmBackward0": sides.batched_matrices,
    "BaddbmmBackward0": sides.sum_and_batched_matrices,
    "LinearBackward0": sides.linear,
    "EmbeddingBackward0": sides.weight,
    "NativeLayerNormBackward0": sides.layer_norm,
    "FusedRmsNormBackward0": sides.rms_norm,
    "NativeGroupNormBackward0": sides.group_norm,
    **_named(sides.batch_norm, "NativeBatchNorm", "CudnnBatchNorm", "MiopenBatchNorm", variants=1),
    "RepeatBackward0": sides.repeated,
    "ScaledDotProductFlashAttentionForCpuBackward0": sides.attention,
    **_named(sides.attention, "ScaledDotProductFlashAttention", "ScaledDotProductCudnnAttention"),
    **_named(sides.attention, "ScaledDotProductEfficientAttention"),
    **_named(sides.class_loss, "NllLoss", "NllLoss2D"),
    "IndexBackward0": sides.indexed,
    "ConstantPadNdBackward0": sides.padded,
}
"""By the name of the graph's node."""

_RECURRENT = "CudnnRnnBackward0"  # by PyTorch's own operators, as on CPUs, it is known


def sides_of(made: Made) -> Sides:
    """Return where the samples lie in each operand.

    Raises:
        NotByLayers: If the operator may mix them.
    """
    name = made.node.name()
    rule = RULES.get(name)
    if name == _RECURRENT:
        raise NotByLayers(f"{name}, a recurrent layer on a GPU, has no second derivative")
    if rule is None:
        raise NotByLayers(f"whether {name} keeps samples apart is not known")
    return rule(made)
