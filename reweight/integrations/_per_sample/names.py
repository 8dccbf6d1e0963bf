"""Losses by the full name of their class, so that no framework need be imported to know them."""

from __future__ import annotations

from typing import Any

_DICE = "monai.losses.dice."

# One value for each sample and channel by reduction="none", and nothing in it of another sample.
BY_CHANNEL = frozenset(
    {
        _DICE + "DiceLoss",
        _DICE + "GeneralizedDiceLoss",
        "monai.losses.tversky.TverskyLoss",
    }
)
FOCAL = "monai.losses.focal_loss.FocalLoss"

# Sums of the losses that they hold under these names.
MADE_OF = {
    _DICE + "DiceCELoss": ("dice", "cross_entropy", "binary_cross_entropy"),
    _DICE + "DiceFocalLoss": ("dice", "focal"),
    _DICE + "GeneralizedDiceFocalLoss": ("generalized_dice", "focal"),
}

# One value for each element, whose mean or sum the loss is.
BY_ELEMENT = frozenset(
    "torch.nn.modules.loss." + name
    for name in ("BCELoss", "BCEWithLogitsLoss", "HuberLoss", "L1Loss", "MSELoss", "SmoothL1Loss")
)
CLASSES = frozenset(
    "torch.nn.modules.loss." + name for name in ("CrossEntropyLoss", "NLLLoss", "NLLLoss2d")
)

# What is compared is the samples of a batch: alone, a sample has no such loss.
OF_SEVERAL = {
    "monai.losses.aucm_loss.AUCMLoss": "ranks the samples of a batch",
    "monai.losses.barlow_twins.BarlowTwinsLoss": "correlates features over the batch",
    "monai.losses.contrastive.ContrastiveLoss": "holds each sample against the others",
}


def name_of(loss: Any) -> str:
    """Return the full name of the class of ``loss``; a subclass has another."""
    kind = type(loss)
    return f"{kind.__module__}.{kind.__qualname__}"
