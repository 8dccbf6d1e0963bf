"""Small images with masks, a network and loaders."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

NOISY, TRUSTED = 12, 5


class Scans(Dataset[dict[str, Any]]):
    """Squares in noise; ids by place."""

    def __init__(self, count: int, seed: int, *, meta: bool = False, ids: bool = True) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.images = torch.randn(count, 1, 8, 8, generator=generator)
        self.labels = (torch.rand(count, 1, 8, 8, generator=generator) > 0.6).float()
        self.images += self.labels
        self.meta, self.ids = meta, ids

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> dict[str, Any]:
        item: dict[str, Any] = {"image": self.images[place], "label": self.labels[place]}
        if self.meta:
            from monai.data import MetaTensor

            meta = {"filename_or_obj": f"scan{place}.nii"}
            item = {key: MetaTensor(value.clone(), meta=meta) for key, value in item.items()}
        return {**item, "id": place} if self.ids else item


class InOrder(DataLoader[dict[str, Any]]):
    """Another order in each pass, by its number alone: a run can go on at the end of any."""

    def __init__(self, data: Scans, size: int, collate: Any = None) -> None:
        self.epoch = 0
        super().__init__(data, batch_size=size, collate_fn=collate)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[dict[str, Any]]:
        generator = torch.Generator().manual_seed(self.epoch)
        order = torch.randperm(len(self.dataset), generator=generator)
        assert self.collate_fn is not None
        for part in order.split(self.batch_size or 1):
            yield self.collate_fn([self.dataset[int(place)] for place in part])


def loaders(**options: Any) -> tuple[InOrder, InOrder]:
    from monai.data import list_data_collate

    return (
        InOrder(Scans(NOISY, 1, **options), 4, list_data_collate),
        InOrder(Scans(TRUSTED, 2, **options), 3, list_data_collate),
    )


def network(dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Conv2d(4, 2, 1),
    )


def parameters_of(model: nn.Module) -> list[Tensor]:
    return [value.detach().clone() for value in model.state_dict().values()]
