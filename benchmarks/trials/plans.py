"""Which runs a command makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.sets.setting import Setting


@dataclass(frozen=True)
class TaskPlan:
    """The runs of one task.

    Attributes:
        setting: The task.
        rows: Names of what is compared.
        trusted: Sizes of trusted sets.
        unit: What a size counts.
        first: The first seed. The library's defaults were found on seeds below 10.
        rates: Learning rates to choose from.
        seeds: How many.
        tuned_on: On how many of them every rate is tried.
    """

    setting: Setting
    rows: tuple[str, ...]
    trusted: tuple[int, ...]
    rates: tuple[float, ...]
    seeds: int
    tuned_on: int = 1
    unit: str = "trusted images"
    first: int = 10

    @property
    def name(self) -> str:
        """Of the task."""
        return self.setting.name

    @property
    def all_seeds(self) -> range:
        """Every seed."""
        return range(self.first, self.first + self.seeds)

    @property
    def tuning_seeds(self) -> range:
        """Those on which every rate is tried."""
        return self.all_seeds[: self.tuned_on]


Plan = tuple[TaskPlan, ...]


def task_plan(content: dict[str, Any]) -> TaskPlan:
    """Return the plan that ``dataclasses.asdict`` was made of.

    Raises:
        KeyError, TypeError: If it was not.
    """
    sequences = {name: tuple(content[name]) for name in ("rows", "trusted", "rates")}
    return TaskPlan(**{**content, **sequences, "setting": Setting(**content["setting"])})
