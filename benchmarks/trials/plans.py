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
        rates: Learning rates to choose from.
        seeds: How many, from 0 on.
        tuned_on: On how many of them every rate is tried.
    """

    setting: Setting
    rows: tuple[str, ...]
    trusted: tuple[int, ...]
    rates: tuple[float, ...]
    seeds: int
    tuned_on: int = 1
    unit: str = "trusted images"

    @property
    def name(self) -> str:
        """Of the task."""
        return self.setting.name


Plan = tuple[TaskPlan, ...]


def task_plan(content: dict[str, Any]) -> TaskPlan:
    """Return the plan that ``dataclasses.asdict`` was made of.

    Raises:
        KeyError, TypeError: If it was not.
    """
    sequences = {name: tuple(content[name]) for name in ("rows", "trusted", "rates")}
    return TaskPlan(**{**content, **sequences, "setting": Setting(**content["setting"])})
