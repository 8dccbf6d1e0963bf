"""From a loss of a batch to one value a sample."""

from __future__ import annotations

from reweight.integrations._per_sample.loss import PerSample, per_sample

__all__ = ["PerSample", "per_sample"]
