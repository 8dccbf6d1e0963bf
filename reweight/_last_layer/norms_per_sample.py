"""‖∂L_i/∂θ_out‖ for every sample."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from reweight._dtypes import at_least_float32, largest_or_one
from reweight._last_layer.codes import digit_codes, is_half, one_code, scaled_by_code
from reweight._last_layer.cut import cut_at
from reweight._last_layer.findings import Findings
from reweight._last_layer.gate import gate
from reweight._last_layer.one_by_one import norms_of, one_by_one, sum_over_calls
from reweight._last_layer.output_gradients import (
    gradients_there_too,
    output_gradients,
    reads_rows,
    why_not_read,
)
from reweight._last_layer.parameter_gradients import per_sample_gradients
from reweight._last_layer.parameter_hooks import hooked_parameters
from reweight._last_layer.rows_alone import operators_behind
from reweight._last_layer.trace import LayerTrace

# Per-sample gradients are held for as many samples at a time as fit in this many elements.
_MOST_ELEMENTS = 2**26
# Relative errors that ‖Zᵀ A‖ may have from the products' rounding, and what a sum of them may make
# of one rounding.
_TOLERATED = {torch.float32: 1e-3, torch.float64: 1e-6}
_ROUNDINGS = 32
# Where squares are so large, they and their sums are in range, and so is what matters beside them.
_ORDINARY = (1e-24, 1e24)


Doubt = Callable[[Tensor], None]
"""Is told of a scalar, true if what is returned is wrong and has to be had again without doubts."""


def sample_norms(
    losses: Tensor,
    trace: LayerTrace,
    findings: Findings | None = None,
    doubt: Doubt | None = None,
) -> Tensor:
    """Return ‖∂L_i/∂θ_out‖₂ for every sample.

    Where each sample's loss depends on that sample's rows of the layer's output alone, the cost
    is linear in C. That is found out in every step, by a proof from the graph or by a test; where
    something couples the samples (BatchNorm after the layer, a contrastive loss, a reshaped
    output), C backward passes from the losses to the layer are made instead, which is exact too.

    Args:
        losses: ``(C,)`` with their graph, which is kept.
        trace: The layer's calls in that graph.
        findings: What earlier steps found out.
        doubt: Where it is given, the answers of tests that were passed before are not waited for.

    Returns:
        ``(C,)``, detached.
    """
    findings = findings or Findings()
    trace.cut = None
    if not losses.requires_grad:  # nothing of the layer is in them
        return torch.zeros_like(losses)
    why = _why_not_row_by_row(trace, len(losses))
    if not why and hooked_parameters(trace, findings):
        why = "hooks of its parameters may change gradients"
    rows = None if why else _independent_rows(losses, trace, findings, doubt)
    if rows is None:
        return _one_by_one(losses, trace, why, findings)
    inputs = [_by_sample(call.args[0].detach(), len(losses)) for call in trace.calls]
    if type(trace.layer) is nn.Linear and len(rows) == 1:
        cheap = _norms_from_products(inputs[0], rows[0], trace, doubt)
        if cheap is not None:
            return cheap
    return _norms_from_gradients(inputs, rows, trace)


def _one_by_one(losses: Tensor, trace: LayerTrace, why: str, findings: Findings) -> Tensor:
    why = why or "the loss of a sample depends on what the layer returns for other samples"
    return one_by_one(losses, trace, why, findings)


def _why_not_row_by_row(trace: LayerTrace, count: int) -> str:
    if not reads_rows(trace):
        return why_not_read(trace)
    for call in trace.calls:
        first = call.shape[0] if call.shape else 0
        # A linear layer may see several rows of each sample, one sample after the other.
        several = type(trace.layer) is nn.Linear and call.args[0].dim() > 1
        parts = first % count == 0 if several else first == count
        if not first or not parts or call.args[0].shape[:1] != (first,):
            return "the first side of what it is fed or returns is not the samples"
    return ""


def _independent_rows(
    losses: Tensor, trace: LayerTrace, findings: Findings, doubt: Doubt | None
) -> list[Tensor] | None:
    """Return ∂L_i/∂z_i for every call of the layer, or ``None`` if some ∂L_i/∂z_j is not zero."""
    count, device = len(losses), losses.device

    def gradients(codes: Tensor) -> list[Tensor]:
        found = output_gradients(losses, trace, codes.to(losses))
        return [_by_sample(row, count) for row in found]

    if count == 1:
        return gradients(torch.ones_like(losses))
    behind = operators_behind(losses, trace)
    graph = f"{trace.training} {behind.names}"
    if behind.proven and findings.trusts(graph):
        own = trace.calls[0].place if behind.alone and len(trace.calls) == 1 else None
        place = own or gate(losses, trace.places, graph, findings)
        found, row = gradients_there_too(losses, trace, place)
        trace.cut = cut_at(place, losses, row)
        return [_by_sample(row, count) for row in found]
    rows = gradients(torch.ones_like(losses))

    def scaled(codes: Tensor, *, exact: bool) -> Tensor:
        passed = [
            scaled_by_code(one, row, _beside(codes, row), _reach(row), exact_codes=exact)
            for one, row in zip(gradients(codes), rows, strict=True)
        ]
        return torch.stack(passed).all()

    if findings.trusts(graph):
        coarse = any(map(is_half, rows))
        if not coarse:
            passed = scaled(one_code(count, device, findings.next_seed()), exact=False)
            if doubt is not None:
                doubt(~passed)
                return rows
            if bool(passed):
                return rows
    if all(bool(scaled(codes, exact=True)) for codes in digit_codes(count, device)):
        findings.passed(graph)
        return rows
    return None


def _by_sample(rows: Tensor, count: int) -> Tensor:
    return rows if len(rows) == count else rows.reshape(count, -1, *rows.shape[1:])


def _reach(row: Tensor) -> Tensor:
    return _beside(at_least_float32(row.abs().flatten(1).amax(dim=1)), row)


def _beside(values: Tensor, row: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (row.dim() - 1))


def _norms_from_gradients(inputs: list[Tensor], rows: list[Tensor], trace: LayerTrace) -> Tensor:
    step = max(1, _MOST_ELEMENTS // sum(p.numel() for p in trace.parameters.values()))
    norms = []
    for start in range(0, len(rows[0]), step):
        part = slice(start, start + step)
        calls = [
            per_sample_gradients(trace, given[part], row[part])
            for given, row in zip(inputs, rows, strict=True)
        ]
        norms.append(norms_of(sum_over_calls(calls)))
    return torch.cat(norms)


def _power_of_two(z: Tensor) -> Tensor:
    """Return one next to the largest magnitude: to divide by it changes no bit of what is left."""
    largest = largest_or_one(z)
    return torch.ldexp(torch.ones_like(largest), torch.frexp(largest).exponent)


def _out_of_range(squares: Tensor) -> Tensor:
    """Whether the largest of ``squares`` is of no ordinary size, a scalar; zero is none.

    A vocabulary has so many rows that to scale them takes as long as to come by them.
    """
    largest = squares.max()
    return ~((largest > _ORDINARY[0]) & (largest < _ORDINARY[1]))


def _norms_from_products(
    inputs: Tensor, rows: Tensor, trace: LayerTrace, doubt: Doubt | None
) -> Tensor | None:
    """Norms for a linear layer from ‖Zᵀ A‖² = Σ_ts ⟨z_t, z_s⟩⟨a_t, a_s⟩, where that is cheaper."""
    count = len(inputs)
    a = at_least_float32(inputs).reshape(count, -1, inputs.shape[-1])
    z = at_least_float32(rows).reshape(count, -1, rows.shape[-1])
    if a.shape[1] * (a.shape[2] + z.shape[2]) > a.shape[2] * z.shape[2]:
        return None
    if z.is_complex():
        return None
    scale = None
    if doubt is None:  # squares of tiny gradients must not underflow
        scale = _power_of_two(z)
        z = z / scale
    gram = z @ z.mT
    if doubt is not None:
        doubt(_out_of_range(gram.diagonal(dim1=1, dim2=2)))
    products = torch.zeros_like(z[:, :1, :1])
    if "weight" in trace.parameters:
        products = products + a @ a.mT
    if "bias" in trace.parameters:
        products = products + 1
    products = gram * products
    squares = products.sum(dim=(1, 2))
    norms: Tensor = squares.clamp(min=0).sqrt()
    norms = norms if scale is None else norms * scale
    if a.shape[1] == 1:  # a single square has nothing to cancel
        return norms
    # An error in the square is half as large in its root.
    rounding = _ROUNDINGS * torch.finfo(z.dtype).eps / (2 * _TOLERATED[z.dtype])
    cancelled = squares < rounding * products.abs().sum(dim=(1, 2))
    if doubt is not None:
        doubt(cancelled.any())
    elif cancelled.any():
        few = [at_least_float32(inputs[cancelled])], [at_least_float32(rows[cancelled])]
        norms[cancelled] = _norms_from_gradients(*few, trace)
    return norms
