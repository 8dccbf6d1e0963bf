"""Saying that the layer saw only some of the samples."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from reweight._isolation.graph_leaves import leaves_of
from reweight._last_layer.findings import Findings
from reweight._last_layer.trace import LayerTrace

Ask = Callable[[Tensor, Callable[[float], None]], None]

# So many steps are looked at: what routes samples to several heads does it in every batch.
_STEPS = 20
# And so many backward passes are made for it.
_QUESTIONS = 3


def say_if_unreached(
    norms: Tensor, losses: Tensor, trace: LayerTrace, findings: Findings, ask: Ask
) -> None:
    """Give a ``UserWarning``, once, if samples do not pass through the layer.

    Their scores are zero though their losses are not, and other parameters do have a gradient of
    these losses (which an activation that is cut off, say, denies to all parameters alike).

    Args:
        norms: The layer's gradient norms, in the shape of ``losses``.
        losses: ``(C,)`` or the loss map, with their graph, which is kept.
        trace: The layer's calls.
        findings: Whether it was said before.
        ask: Calls a function with the value of a scalar, now or later.
    """
    if findings.times("looked for samples that do not reach the layer") >= _STEPS:
        return
    unreached = (norms == 0) & (losses.detach().abs() > 1e-6)
    ask(unreached.any(), partial(_say, unreached, losses, trace, findings))


def _say(
    unreached: Tensor, losses: Tensor, trace: LayerTrace, findings: Findings, any_of_them: float
) -> None:
    if not any_of_them or findings.times("asked whether others learn") >= _QUESTIONS:
        return
    if not _others_learn(losses[unreached].sum(), trace):
        return
    found = unreached.reshape(len(unreached), -1).any(dim=1).nonzero().flatten().tolist()
    shown = ", ".join(map(str, found[:10])) + (", …" if len(found) > 10 else "")
    findings.say_once(
        f"unreached {trace.path()}",
        f"LastLayerGradient: {int(unreached.sum())} of {unreached.numel()} losses (of the samples "
        f"at position(s) [{shown}]) do not depend on {trace.name()}, though on other parameters. "
        f"It saw only some of the samples, as one of several heads or experts does, and those it "
        f"did not see score 0. Name a layer that all samples pass through with layer=, or use "
        f"GradientSimilarity() alone.",
    )


def _others_learn(loss: Tensor, trace: LayerTrace) -> bool:
    own = {id(p) for p in trace.parameters.values()}
    leaves = [leaf for leaf in leaves_of(loss) if id(leaf) not in own]
    if not leaves:
        return False
    try:
        found = torch.autograd.grad(loss, leaves, retain_graph=True, allow_unused=True)
    except RuntimeError:  # reentrant checkpointing knows backward() alone
        return False
    return any(g is not None and bool(g.to_dense().any()) for g in found)
