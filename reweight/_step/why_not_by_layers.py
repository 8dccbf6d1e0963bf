"""What rules out products of layers before the training pass is made."""

from __future__ import annotations

from reweight._isolation.gradient_hooks import GradientHooks
from reweight._isolation.objective import Objective


def why_not_by_layers(
    objective: Objective, hooks: GradientHooks, *, own: bool, labels: bool
) -> str:
    """Return why a training step cannot be taken layer by layer; empty if nothing is known.

    Args:
        objective: The losses as a function of the parameters.
        hooks: The model's gradient hooks.
        own: Whether scores are taken from the training pass, and no other rank has a part in it.
        labels: Whether the scores under every label are wanted.
    """
    if not own:
        return "scores need a pass of their own (autocast, a compiler, a checkpoint, several ranks)"
    if labels:
        return "the scores under every label are wanted, of which it tells nothing"
    if hooks.change:
        return "a gradient hook changes gradients"
    if hooks.on_activations:
        return "a hook in the model's forward pass asks for the gradient of an activation"
    if objective.verdicts.scores_apart:
        return "scores cannot be taken from the training pass"
    return ""
