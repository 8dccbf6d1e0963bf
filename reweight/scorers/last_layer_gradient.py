"""Informativeness: the size of the last layer's gradient (Eq. 6–7)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from reweight._last_layer import Findings, element_norms, sample_norms, say_if_unreached
from reweight._last_layer.trace import LayerTrace
from reweight._step.context import ScoringContext
from reweight._step.plain_gradients import PlainGradients
from reweight._torch_internals import parameter_slots
from reweight.errors import check_finite
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
    found out, and C short backward passes are made instead. So they are for a layer that cannot be
    watched, in TorchScript or within ``torch.func.jvp`` or ``vmap``. More than 32 of them give a
    ``UserWarning``, once; and so does a layer that only some of the samples reach, such as one of
    several heads.

    With weights per element, which element of the loss map each position of the layer's output
    belongs to is found out, so that the map may be shifted (the next token's loss), sliced or
    flattened.

    Args:
        layer: The layer to take instead of the last one executed: its name in the model, or the
            module itself.

    Raises:
        ValueError: When called, if the model has no such layer, or no layer with trainable
            parameters ran; or, with weights per element, for a map of more than 1,024 elements of
            which some do not depend on the layer's output at one position alone.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from reweight import LastLayerGradient, MetaReweighter
        >>> x = torch.tensor([[1.0], [2.0], [-1.0], [-2.0]])
        >>> y = torch.tensor([1, 0, 0, 0])  # 1 where x > 0, but for the second, which is wrong
        >>> trusted = torch.tensor([[1.0], [-1.0]]), torch.tensor([1, 0])
        >>> model, loss = nn.Linear(1, 2, bias=False), nn.CrossEntropyLoss(reduction="none")
        >>> step = MetaReweighter(model, loss, scorer=LastLayerGradient())((x, y))
        >>> gradient = torch.autograd.grad(loss(model(x[:1]), y[:1]).sum(), model.weight)[0]
        >>> torch.allclose(step.scores["last_layer_gradient"][0], gradient.norm())
        True
    """

    differentiates = True
    signed = False

    def __init__(self, layer: str | nn.Module | None = None) -> None:
        self.layer = layer
        self._last: nn.Module | None = None
        self._last_name: str | None = None
        self._changes = False
        self._findings = Findings()

    @override
    def __repr__(self) -> str:
        return f"LastLayerGradient({'' if self.layer is None else repr(self.layer)})"

    @override
    def prepare(self, context: ScoringContext) -> None:
        """Ask for the layer to be watched."""
        layer = self._resolve(context.model)
        if self._last is None and self._last_name is not None:  # from a checkpoint
            self._last = dict(context.model.named_modules()).get(self._last_name)
        known = layer is None and not self._changes
        context.passes.watch(layer, hint=self._last if known else None)

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
            self._found(trace)
        per_element = context.granularity == "element" and seen.losses.dim() > 1
        take = element_norms if per_element else sample_norms
        doubts: list[Tensor] = []
        doubt = None if context.later.at_once else doubts.append
        norms = take(seen.losses, trace, self._findings, doubt)
        for wrong in doubts:
            context.again_if(wrong, partial(self._without_doubt, take, seen.losses, trace))
        return self._refused_or_said(norms, seen.losses, trace, context)

    def _without_doubt(
        self, take: Callable[..., Tensor | None], losses: Tensor, trace: LayerTrace
    ) -> Tensor:
        # What was only rounding, or not finite, is told apart by tests that are waited for.
        check_finite(losses, "loss", "noisy")
        return self._refused(take(losses, trace, self._findings), losses, trace)

    def _refused_or_said(
        self, norms: Tensor | None, losses: Tensor, trace: LayerTrace, context: ScoringContext
    ) -> Tensor:
        found = self._refused(norms, losses, trace)
        say_if_unreached(found, losses, trace, self._findings, context.later.ask)
        return found

    def _refused(self, norms: Tensor | None, losses: Tensor, trace: LayerTrace) -> Tensor:
        if norms is None:
            raise ValueError(
                f"LastLayerGradient cannot score {losses.numel()} single elements by "
                f"{trace.name()}: it needs nn.Linear or a convolution that runs once, "
                f" and a loss map of which each element depends on the layer's output at one "
                f"position alone. Name such a layer with layer=, use GradientSimilarity, or "
                f'granularity="sample".'
            )
        return norms

    @override
    def reference(
        self, context: ScoringContext, plain: PlainGradients
    ) -> tuple[Tensor | None, str]:
        """Return the norms over the layer's parameters, wherever else the model uses them."""
        layer = self._resolve(context.model) or self._last
        if layer is None:
            return None, "its layer is not known"
        inside = {id(p) for p in layer.parameters()}
        trainable = context.passes.start.trainable
        names = [name for name, p in trainable.items() if id(p) in inside]
        own = set(layer.modules())
        others = (part for part in context.model.modules() if part not in own)
        if inside & {id(p) for part in others for p in part.parameters(recurse=False)}:
            return None, "its layer shares a weight with another, whose use does not count"
        path = next((n for n, part in context.model.named_modules() if part is layer), "")
        return plain.norms(names), f"layer {path or type(layer).__name__}"

    def state_dict(self) -> dict[str, Any]:
        """Return what later steps depend on: plain numbers and strings, no tensor."""
        return {"last": self._last_name, "findings": self._findings.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned, with a model of the same layers."""
        self._last, self._last_name = None, state["last"]
        self._findings.load_state_dict(state["findings"])

    def _found(self, trace: LayerTrace) -> None:
        """Keep which layer was last, for the next step."""
        if trace.layer is self._last:
            return
        # Where it is now one and now another, to look for it in all is cheaper than to look twice.
        self._changes = self._last is not None
        self._last, self._last_name = trace.layer, trace.path()
        scripted = isinstance(trace.layer, torch.jit.ScriptModule)
        if scripted and any("." in name for name in trace.parameters):
            self._findings.say_once(
                f"scripted {self._last_name}",
                f"LastLayerGradient cannot see which layer of a scripted module runs last: it "
                f"takes {trace.name()} for one layer, with all its parameters. Name the layer to "
                f"score by with layer=.",
            )

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
