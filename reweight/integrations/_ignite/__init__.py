"""What trainers on torch-ignite's engine share, MONAI's among them."""

from __future__ import annotations

from reweight.integrations._ignite.accumulation import Accumulation
from reweight.integrations._ignite.keys import from_key
from reweight.integrations._ignite.reweighting import Reweighting

__all__ = ["Accumulation", "Reweighting", "from_key"]
