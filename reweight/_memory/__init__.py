"""What is remembered from one step to the next, by sample or by group."""

from __future__ import annotations

from reweight._memory.running_mean import RunningMean
from reweight._memory.table import Table

__all__ = ["RunningMean", "Table"]
