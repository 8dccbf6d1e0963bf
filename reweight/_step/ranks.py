"""What several ranks know of their batches together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from reweight._isolation.wrappers import data_parallel_wrappers
from reweight._torch_internals import takes_uneven_inputs
from reweight.errors import OtherRankError

_CPU = torch.device("cpu")
_FAILED = -1

Meeting: TypeAlias = Literal["rows", "kept"]
"""Where the ranks of a step meet: to bring their rows together, and to count what they kept."""


class Ranks:
    """The ranks that train one model under ``DistributedDataParallel``, during one step.

    Attributes:
        group: Their process group; ``None`` where there is one rank alone.
        device: Where they exchange what they know.
    """

    def __init__(
        self, group: Any = None, device: torch.device = _CPU, meetings: Sequence[Meeting] = ()
    ) -> None:
        self.group = group
        self.device = device
        self._ahead = list(meetings)

    @classmethod
    def of(cls, model: nn.Module, *, training: bool, together: bool, learns: bool) -> Ranks:
        """Return those that make a step of ``model`` together: one alone in a look at weights.

        Args:
            model: The model as it was given.
            training: Whether the step trains.
            together: Whether the batches of all ranks are weighed as one.
            learns: Whether something is remembered of all ranks' rows.

        Raises:
            RuntimeError: If the ranks may have batches of unequal number (``Join``), and this step
                would wait for a rank that has none left.
        """
        wrappers = data_parallel_wrappers(model) if training or together else []
        if not wrappers or torch.distributed.get_world_size(wrappers[0].process_group) == 1:
            return cls()
        gathers = together or learns
        if any(map(takes_uneven_inputs, wrappers)):
            if gathers:
                raise RuntimeError(
                    'sync="global", and what is remembered of each sample, take all ranks in each '
                    "step, and under Join (model.join()) some have no batch left: leave it out, "
                    "and give every rank as many batches (DistributedSampler does)."
                )
            return cls()
        meetings: list[Meeting] = ["rows"] if gathers else []
        device = next(wrappers[0].module.parameters()).device
        return cls(wrappers[0].process_group, device, meetings if together else [*meetings, "kept"])

    @property
    def count(self) -> int:
        """How many there are."""
        return 1 if self.group is None else torch.distributed.get_world_size(self.group)

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of every rank's ``values``, of one shape, which it may overwrite."""
        if self.group is None:
            return values
        total = values.to(self.device)
        torch.distributed.all_reduce(total, group=self.group)
        return total.to(values.device)

    def each(self, values: Tensor) -> list[Tensor]:
        """Return every rank's ``values``, which are of one shape, on :attr:`device`."""
        own = values.to(self.device).contiguous()
        found = [torch.empty_like(own) for _ in range(self.count)]
        torch.distributed.all_gather(found, own, group=self.group)
        return found

    def sum_of_kept(self, counted: Tensor) -> Tensor:
        """Return the sum of every rank's ``counted``, on the device.

        Raises:
            OtherRankError: If another rank has raised an error in this step.
        """
        if self.group is None:
            return counted
        self._ahead.remove("kept")
        total: Tensor
        total, failed = self.sum(torch.stack([counted, torch.zeros_like(counted)]))
        self.refuse_failed(int(failed))  # for which the device is waited for
        return total

    def headers(self, *numbers: int) -> list[list[int]]:
        """Return what every rank says of what it is about to send.

        Raises:
            OtherRankError: If another rank has raised an error in this step.
        """
        said = torch.stack(self.each(torch.tensor(numbers, device=self.device))).tolist()
        self.refuse_failed(sum(first == _FAILED for first, *_ in said))
        return said

    def joint(self, columns: Sequence[Tensor]) -> tuple[Joint, list[Tensor]]:
        """Return what puts the ranks' rows one after another, and the rows of ``columns`` so.

        Args:
            columns: ``(own,)`` each, own the number of this rank's rows.

        Raises:
            OtherRankError: If another rank has raised an error in this step.
            ValueError: If the ranks do not bring the same columns.
        """
        if self.group is None:
            return Joint(self, [len(columns[0])], 0), list(columns)
        if "rows" in self._ahead:
            self._ahead.remove("rows")
        said = self.headers(len(columns[0]), sum(map(_width, columns)))
        joint = Joint(self, [count for count, _ in said], torch.distributed.get_rank(self.group))
        if len({width for _, width in said}) > 1:
            self.has_told()
            raise ValueError(
                "the ranks bring other things to this step: pass ids and groups on all ranks or on "
                "none, and losses of one dtype."
            )
        return joint, joint.all(columns)

    def has_told(self) -> None:
        """Note that all ranks know that there is an error in this step."""
        self._ahead.clear()

    def refuse_failed(self, failed: float) -> None:
        """Raise if other ranks have said that they have raised an error in this step."""
        if failed:
            self.has_told()
            raise OtherRankError

    @contextmanager
    def told_of_errors(self) -> Iterator[None]:
        """Let the others, where the body raises an error, raise one too instead of waiting.

        They are told where they meet next: as far as is known, for a scorer may take gradients of
        all ranks before.
        """
        try:
            yield
        except Exception:
            ahead = self._ahead[:1]
            self.has_told()
            if ahead == ["rows"]:
                self.each(torch.tensor([_FAILED, 0], device=self.device))
            elif ahead:
                self.sum(torch.tensor([0, 1], device=self.device))
            raise


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

    def all(self, columns: Sequence[Tensor]) -> list[Tensor]:
        """Return the rows of all ranks; ``columns``, ``(own, ...)`` each, are this one's.

        They go as bytes, in one message: ids are whole numbers beyond what a float holds.
        """
        if self.ranks.group is None:
            return list(columns)
        rows = torch.cat([_as_bytes(column) for column in columns], dim=1)
        padded = rows.new_zeros((max(self.counts), rows.shape[1]))
        padded[: len(rows)] = rows
        if padded.numel() == 0:
            return list(columns)
        found = self.ranks.each(padded)
        joined = torch.cat([each[:count] for each, count in zip(found, self.counts, strict=True)])
        parts = torch.split(joined, [_width(column) for column in columns], dim=1)
        return [
            part.contiguous().view(like.dtype).reshape(-1, *like.shape[1:]).to(like.device)
            for part, like in zip(parts, columns, strict=True)
        ]

    def all_if_known(self, columns: Sequence[Tensor] | None) -> list[Tensor] | None:
        """Return the rows of all ranks, ``None`` where one of them has none."""
        if self.ranks.group is None:
            return None if columns is None else list(columns)
        width = 0 if columns is None else sum(map(_width, columns))
        said = {each for (each,) in self.ranks.headers(width)}
        return None if columns is None or said != {width} else self.all(columns)

    def own(self, values: Tensor) -> Tensor:
        """Return this rank's rows of those of all."""
        first = sum(self.counts[: self.rank])
        return values[first : first + self.counts[self.rank]]


def _width(column: Tensor) -> int:
    """Return how many bytes a row of ``column`` has."""
    return column.itemsize * math.prod(column.shape[1:])


def _as_bytes(column: Tensor) -> Tensor:
    rows = column.detach().reshape(len(column), math.prod(column.shape[1:]))
    return rows.contiguous().view(torch.uint8)
