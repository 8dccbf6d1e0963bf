"""ResNet-18 (He et al. 2015) as MONAI has it: what is measured where MONAI is not installed."""

from __future__ import annotations

from torch import Tensor, nn
from typing_extensions import override


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.act = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.downsample: nn.Module | None = None
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, after, 1, stride), nn.BatchNorm2d(after)
            )

    @override
    def forward(self, images: Tensor) -> Tensor:
        """Map (C, before, H, W) to (C, after, H / stride, W / stride)."""
        out: Tensor = self.bn2(self.conv2(self.act(self.bn1(self.conv1(images)))))
        out += images if self.downsample is None else self.downsample(images)
        mapped: Tensor = self.act(out)
        return mapped


class ResNet18(nn.Module):
    """Eight blocks on four levels.

    Args:
        classes: Number of classes.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.act = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        blocks = [Block(64, 64, 1), Block(64, 64, 1)]
        for before in (64, 128, 256):
            blocks += [Block(before, 2 * before, 2), Block(2 * before, 2 * before, 1)]
        self.blocks = nn.Sequential(*blocks)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(512, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @override
    def forward(self, images: Tensor) -> Tensor:
        """Map (C, 3, H, W) images to (C, classes) logits."""
        features = self.maxpool(self.act(self.bn1(self.conv1(images))))
        logits: Tensor = self.fc(self.avgpool(self.blocks(features)).flatten(1))
        return logits
