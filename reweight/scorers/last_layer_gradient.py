"""Informativeness: the size of the last layer's gradient (Eq. 6–7)."""

from __future__ import annotations

from torch import Tensor, nn
from typing_extensions import override

from reweight._last_layer import element_norms, sample_norms
from reweight._step.context import ScoringContext
from reweight._torch_internals import parameter_slots
from reweight.scorers.mixture import Scorer


class LastLayerGradient(Scorer):
    """Score each sample by ‖∂L_i/∂θ_out‖₂, θ_out the weights and bias of the last layer executed.

    Line 13 of Algorithm 1, read literally, is zero (its loss carries w = 0), and Eq. 6 is one
    vector for the whole batch. What is computed here is what their source does (Ash et al. 2019):
    the norm, per sample, of the gradient of the *unweighted* loss. Frozen parameters do not count.
    A weight that the layer shares with another module counts in this layer's use alone, for the
    common layers (linear, convolution, normalisation by sample).

    It reads the training pass and makes none of its own, except under autocast or
    ``torch.compile``, whose numbers and graphs are not what a score is made of. Cost is linear in
    C, unless something after the layer couples the samples (a contrastive loss, say): that is
    found out, and C short backward passes are made instead.

    Args:
        layer: The layer to take instead of the last one executed: its name in the model, or the
            module itself.

    Raises:
        ValueError: When called, if the model has no such layer, or no layer with trainable
            parameters ran; or, with weights per element, if an element's loss does not depend on
            the layer's output at that element alone.
    """

    def __init__(self, layer: str | nn.Module | None = None) -> None:
        self.layer = layer
        self._last: nn.Module | None = None

    @override
    def prepare(self, context: ScoringContext) -> None:
        """Ask for the layer to be watched."""
        layer = self._resolve(context.model)
        context.passes.watch(layer, hint=self._last if layer is None else None)

    @override
    def __call__(self, context: ScoringContext) -> Tensor:
        """Return the gradient norms, ``(C,)`` or in the shape of the loss map."""
        wanted = self._resolve(context.model)
        seen = context.passes.for_scores()
        trace = seen.traces[wanted]
        if trace.layer is None:
            what = "the model" if wanted is None else f"layer {self.layer!r}"
            raise ValueError(
                f"LastLayerGradient: no layer with trainable parameters ran in {what}. Name the "
                f"layer to score by with layer=, or leave this scorer out."
            )
        if wanted is None:
            self._last = trace.layer
        per_element = context.granularity == "element" and seen.losses.dim() > 1
        if not per_element:
            return sample_norms(seen.losses, trace)
        norms = element_norms(seen.losses, trace)
        if norms is None:
            raise ValueError(
                "LastLayerGradient cannot score single elements here: it needs a last layer that "
                "is nn.Linear or a convolution padded with zeros, and a loss map of which each "
                "element depends on the layer's output at that element alone. Use "
                'GradientSimilarity, or granularity="sample".'
            )
        return norms

    def _resolve(self, model: nn.Module) -> nn.Module | None:
        if not isinstance(self.layer, str):
            if self.layer is not None and all(self.layer is not part for part in model.modules()):
                raise ValueError(
                    "LastLayerGradient: the module given as layer= is not in the model."
                )
            return self.layer
        layers: dict[str, nn.Module] = dict(model.named_modules())
        if self.layer not in layers:
            named = [name for name, part in layers.items() if name and any(parameter_slots(part))]
            raise ValueError(
                f"LastLayerGradient: the model has no layer {self.layer!r}. Its layers with "
                f"parameters are {', '.join(named)}."
            )
        return layers[self.layer]
