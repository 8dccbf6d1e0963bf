"""Losses that reduce over a batch, and batches for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Batch = tuple[Tensor, Tensor]


def logits(channels: int) -> Tensor:
    return torch.randn(5, channels, 6, 7, dtype=torch.float64)


def indices(channels: int) -> Tensor:
    return torch.randint(channels, (5, 1, 6, 7))


def one_hot(channels: int) -> Tensor:
    return F.one_hot(indices(channels)[:, 0], channels).movedim(-1, 1).double()


def binary() -> Batch:
    return logits(1), torch.randint(2, (5, 1, 6, 7)).double()


def named() -> Batch:
    return logits(3), indices(3)


def hot() -> Batch:
    return logits(3), one_hot(3)


def soft() -> Batch:
    return logits(3), torch.rand(5, 3, 6, 7).double()


def some_ignored() -> Batch:
    output, target = named()
    target[torch.rand(target.shape) < 0.3] = 255
    return output, target


def planes() -> Batch:
    return logits(3), indices(3)[:, 0]


def rows() -> Batch:
    return torch.randn(5, 3).double(), torch.tensor([0, 2, 1, 1, 0])


def planes_with_ignored() -> Batch:
    output, target = planes()
    target[torch.rand(target.shape) < 0.3] = -100
    return output, target


WEIGHT = torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64)


def m() -> Any:
    """MONAI's losses, imported when one is built."""
    from monai import losses

    return losses


def monai_losses() -> dict[str, tuple[Callable[[], Any], Callable[[], Batch]]]:
    """By name, what builds the loss and a batch."""
    named_ = {"to_onehot_y": True, "softmax": True}
    return {
        "Dice": (lambda: m().DiceLoss(**named_), named),
        "Dice, sum": (lambda: m().DiceLoss(**named_, reduction="sum"), named),
        "Dice, one channel": (lambda: m().DiceLoss(sigmoid=True), binary),
        "Dice, weights, no background": (
            lambda: m().DiceLoss(**named_, include_background=False, weight=WEIGHT[1:]),
            named,
        ),
        "Dice, jaccard, squared": (
            lambda: m().DiceLoss(softmax=True, jaccard=True, squared_pred=True),
            hot,
        ),
        "MaskedDice": (lambda: m().MaskedDiceLoss(**named_), named),
        "GeneralizedDice": (lambda: m().GeneralizedDiceLoss(**named_), named),
        "GeneralizedDice, sum": (
            lambda: m().GeneralizedDiceLoss(**named_, reduction="sum", w_type="simple"),
            named,
        ),
        "Tversky": (lambda: m().TverskyLoss(**named_, alpha=0.3, beta=0.7), named),
        "Focal": (lambda: m().FocalLoss(to_onehot_y=True), named),
        "Focal, sum": (lambda: m().FocalLoss(to_onehot_y=True, reduction="sum"), named),
        "Focal, softmax, weights": (
            lambda: m().FocalLoss(to_onehot_y=True, use_softmax=True, weight=WEIGHT),
            named,
        ),
        "DiceCE": (lambda: m().DiceCELoss(**named_), named),
        "DiceCE, sum": (lambda: m().DiceCELoss(**named_, reduction="sum", lambda_ce=0.3), named),
        "DiceCE, one channel": (lambda: m().DiceCELoss(sigmoid=True, lambda_dice=2), binary),
        "DiceCE, one-hot": (lambda: m().DiceCELoss(softmax=True), hot),
        "DiceCE, soft": (lambda: m().DiceCELoss(softmax=True), soft),
        "DiceCE, weights": (lambda: m().DiceCELoss(**named_, weight=WEIGHT), named),
        "DiceCE, weights, smoothing, one-hot": (
            lambda: m().DiceCELoss(softmax=True, weight=WEIGHT, label_smoothing=0.1),
            hot,
        ),
        "DiceFocal": (lambda: m().DiceFocalLoss(**named_), named),
        "DiceFocal, sum": (
            lambda: m().DiceFocalLoss(**named_, reduction="sum", gamma=1.5, lambda_focal=0.5),
            named,
        ),
        "DiceFocal, weights": (
            lambda: m().DiceFocalLoss(softmax=True, weight=WEIGHT.tolist()),
            hot,
        ),
        "GeneralizedDiceFocal": (lambda: m().GeneralizedDiceFocalLoss(**named_), named),
        "GeneralizedWassersteinDice": (
            lambda: m().GeneralizedWassersteinDiceLoss(torch.ones(3, 3).double() - torch.eye(3)),
            named,
        ),
        "SSIM": (lambda: m().SSIMLoss(2, win_size=3), lambda: (logits(1).sigmoid(), binary()[1])),
        "Hausdorff": (lambda: m().HausdorffDTLoss(softmax=True), hot),
        "clDice": (lambda: m().SoftclDiceLoss(), lambda: (logits(3).softmax(1), one_hot(3))),
    }


def torch_losses() -> dict[str, tuple[Callable[[], Any], Callable[[], Batch]]]:
    """The same of PyTorch's."""
    return {
        "CrossEntropy": (nn.CrossEntropyLoss, rows),
        "CrossEntropy, planes": (nn.CrossEntropyLoss, planes),
        "CrossEntropy, ignored": (nn.CrossEntropyLoss, planes_with_ignored),
        "CrossEntropy, weights, smoothing, ignored": (
            lambda: nn.CrossEntropyLoss(WEIGHT, label_smoothing=0.2),
            planes_with_ignored,
        ),
        "CrossEntropy, sum": (lambda: nn.CrossEntropyLoss(WEIGHT, reduction="sum"), planes),
        "CrossEntropy, soft": (lambda: nn.CrossEntropyLoss(WEIGHT), soft),
        "MSE": (nn.MSELoss, soft),
        "L1, sum": (lambda: nn.L1Loss(reduction="sum"), soft),
        "BCE of logits": (lambda: nn.BCEWithLogitsLoss(pos_weight=torch.tensor(2.0)), binary),
        "KL": (lambda: nn.KLDivLoss(reduction="batchmean"), soft),
        "a function": (lambda: lambda o, t: (o - t).square().mean() ** 2, soft),
        "a subclass": (lambda: _Shifted(), soft),
        "a map": (lambda: nn.MSELoss(reduction="none"), soft),
    }


class _Shifted(nn.MSELoss):
    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return super().forward(output, target).sqrt()
