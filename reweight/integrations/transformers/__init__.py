"""Weighted samples in the Hugging Face Trainer, and in TRL's SFTTrainer and DPOTrainer.

``ReweightTrainer`` is a ``transformers.Trainer``; for a trainer of another kind write
``class Weighted(ReweightMixin, SFTTrainer): pass``.
"""

from reweight.integrations.transformers.mixin import ReweightMixin
from reweight.integrations.transformers.trainer import ReweightTrainer

__all__ = ["ReweightMixin", "ReweightTrainer"]
