"""What several ranks know of their batches together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from reweight._isolation.wrappers import data_parallel_wrappers


@dataclass(frozen=True, eq=False)
class Ranks:
    """The ranks that train one model under ``DistributedDataParallel``.

    Attributes:
        group: Their process group; ``None`` where there is one rank alone.
    """

    group: Any = None

    @classmethod
    def of(cls, model: nn.Module) -> Ranks:
        """Return those that train ``model``."""
        wrappers = data_parallel_wrappers(model)
        if not wrappers or torch.distributed.get_world_size(wrappers[0].process_group) == 1:
            return cls()
        return cls(wrappers[0].process_group)

    @property
    def count(self) -> int:
        """How many there are."""
        return 1 if self.group is None else torch.distributed.get_world_size(self.group)

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of every rank's ``values``, which are of one shape."""
        if self.group is None:
            return values
        total = values.clone()
        torch.distributed.all_reduce(total, group=self.group)
        return total

    def joint(self, own: int, device: torch.device) -> Joint:
        """Return what puts the ranks' rows one after another, ``own`` of them this rank's."""
        if self.group is None:
            return Joint(self, [own], 0)
        mine = torch.tensor([own], device=device)
        counts = [torch.empty_like(mine) for _ in range(self.count)]
        torch.distributed.all_gather(counts, mine, group=self.group)
        return Joint(self, torch.cat(counts).tolist(), torch.distributed.get_rank(self.group))


@dataclass(frozen=True, eq=False)
class Joint:
    """The rows of all ranks, in the order of the ranks.

    Attributes:
        ranks: The ranks.
        counts: How many rows each has.
        rank: Which of them this is.
    """

    ranks: Ranks
    counts: list[int]
    rank: int

    def all(self, values: Tensor) -> Tensor:
        """Return the rows of all ranks; ``values``, ``(own, ...)``, are this one's."""
        if self.ranks.group is None:
            return values
        largest = max(self.counts)
        padded = values.new_zeros((largest, *values.shape[1:]))
        padded[: len(values)] = values
        found = [torch.empty_like(padded) for _ in self.counts]
        torch.distributed.all_gather(found, padded, group=self.ranks.group)
        return torch.cat([rows[:count] for rows, count in zip(found, self.counts, strict=True)])

    def own(self, values: Tensor) -> Tensor:
        """Return this rank's rows of those of all."""
        first = sum(self.counts[: self.rank])
        return values[first : first + self.counts[self.rank]]
