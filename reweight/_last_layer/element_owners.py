"""Which element of a loss map each part of the layer's output belongs to."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reweight._dtypes import at_least_float32
from reweight._last_layer.codes import (
    DIGIT,
    digit_codes,
    is_half,
    least,
    one_code,
    scaled_by_code,
)
from reweight._last_layer.findings import Findings
from reweight._last_layer.output_gradients import output_gradients
from reweight._last_layer.trace import LayerTrace


@dataclass(frozen=True)
class Owned:
    """The gradient of the summed losses by the layer's output, and whose each part of it is.

    Attributes:
        rows: ∂ΣL/∂z, in the shape of z.
        owners: Numbers of elements, -1 for a part that reaches none, in the shape of z; with one
            channel where ``by_position``.
        by_position: Whether all channels at a position belong to one element.
        in_order: Whether owners count up from 0: the map is the output, or its positions.
    """

    rows: Tensor
    owners: Tensor
    by_position: bool
    in_order: bool


def channel_dimension(layer: nn.Module | None) -> int:
    """Return the dimension of the layer's output that its channels lie along."""
    return -1 if isinstance(layer, nn.Linear) else 1


def owned_parts(
    losses: Tensor, trace: LayerTrace, findings: Findings, doubt: Callable[[Tensor], None] | None
) -> Owned | None:
    """Return whose each part of the layer's output is.

    Args:
        losses: The loss map, with its graph.
        trace: One call of a layer.
        findings: What earlier steps found out.
        doubt: Where it is given, it is told if the answer is wrong, a scalar that is not waited
            for, where earlier steps leave little doubt.

    Returns:
        ``None`` if some part reaches two elements, or an element depends on two positions.
    """
    (rows,) = output_gradients(losses, trace, torch.ones_like(losses))
    positions = list(rows.shape)
    positions[channel_dimension(trace.layer)] = 1
    shapes = f"{trace.training} {tuple(rows.shape)} {tuple(losses.shape)}"
    search = _Search(losses, trace, rows, findings)
    for shape in (list(rows.shape), positions):
        if math.prod(shape) == losses.numel():
            numbers = torch.arange(losses.numel(), device=losses.device).reshape(shape)
            kind = f"{shapes} in order {shape == positions}"
            if search.confirmed(numbers, kind, doubt):
                return Owned(rows, numbers, by_position=shape == positions, in_order=True)
    for shape in (positions, list(rows.shape)):
        kind = f"{shapes} decoded {shape == positions}"
        owners = search.remembered(kind, shape)
        if owners is None:
            owners = search.decoded(kind, shape)
        if owners is not None:
            return Owned(rows, owners, by_position=shape == positions, in_order=False)
    return None


class _Search:
    def __init__(self, losses: Tensor, trace: LayerTrace, rows: Tensor, findings: Findings) -> None:
        self.losses, self.trace, self.rows, self.findings = losses, trace, rows, findings
        self.channels = channel_dimension(trace.layer)

    def confirmed(
        self, owners: Tensor, kind: str, doubt: Callable[[Tensor], None] | None = None
    ) -> bool:
        """Whether every part reaches its owner and no other element."""
        reach = self._reach(owners.shape)
        count, device = self.losses.numel(), self.losses.device
        if self.findings.trusts(kind) and not is_half(self.rows):
            codes = one_code(count, device, self.findings.next_seed())
            passed = self._scaled(owners, codes, reach, exact=False)
            if doubt is None:
                return bool(passed)
            doubt(~passed)
            return True
        if all(
            bool(self._scaled(owners, codes, reach, exact=True))
            for codes in digit_codes(count, device)
        ):
            self.findings.passed(kind)
            return True
        return False

    def remembered(self, kind: str, shape: list[int]) -> Tensor | None:
        """Return the owners found in an earlier step, if they still are."""
        owners = self.findings.owners.get(kind)
        if owners is None or owners.device != self.rows.device:
            return None
        # What is not seen now is left out, so that the past decides the cost alone.
        owners = owners.where(self._reach(torch.Size(shape)) > least(self.rows), -1)
        alone = self._at_one_position(owners) and self.confirmed(owners, kind)
        return owners if alone else None

    def decoded(self, kind: str, shape: list[int]) -> Tensor | None:
        """Read each owner's number off the powers of two that scale its part of the gradient."""
        strongest, place = self.rows.abs(), None
        if shape != list(self.rows.shape):
            strongest, place = strongest.max(dim=self.channels, keepdim=True)
        seen = at_least_float32(strongest) > least(self.rows)
        strongest = at_least_float32(strongest).where(seen, 1)
        owners = torch.zeros_like(strongest, dtype=torch.long)
        for number, codes in enumerate(digit_codes(self.losses.numel(), self.losses.device)):
            scaled = self._scaled_rows(codes).abs()
            if place is not None:
                scaled = scaled.gather(self.channels, place)
            digits = (at_least_float32(scaled) / strongest).log2().nan_to_num(0, 0, 0).round()
            owners += digits.clamp(0, 2**DIGIT - 1).long() << (DIGIT * number)
        if bool((owners.where(seen, 0) >= self.losses.numel()).any()):
            return None
        owners = owners.where(seen, -1)
        if not self._at_one_position(owners) or not self.confirmed(owners, kind):
            return None
        before = self.findings.owners.get(kind)
        self.findings.remember(kind, owners if before is None else owners.where(seen, before))
        return owners

    def _at_one_position(self, owners: Tensor) -> bool:
        """Whether no element owns parts at two positions."""
        last = owners.movedim(self.channels, -1).flatten(0, -2)
        positions = torch.arange(len(last), device=last.device)[:, None].expand_as(last)
        known = last >= 0
        first = positions.new_full((self.losses.numel(),), len(last))
        first = first.scatter_reduce(0, last[known], positions[known], "amin")
        return bool((first[last[known]] == positions[known]).all())

    def _reach(self, shape: torch.Size) -> Tensor:
        sizes = at_least_float32(self.rows.abs())
        return sizes if sizes.shape == shape else sizes.amax(dim=self.channels, keepdim=True)

    def _scaled_rows(self, codes: Tensor) -> Tensor:
        given = codes.to(self.losses).reshape(self.losses.shape)
        return output_gradients(self.losses, self.trace, given)[0]

    def _scaled(self, owners: Tensor, codes: Tensor, reach: Tensor, *, exact: bool) -> Tensor:
        own = codes[owners.clamp(min=0)].where(owners >= 0, 0)
        return scaled_by_code(self._scaled_rows(codes), self.rows, own, reach, exact_codes=exact)
