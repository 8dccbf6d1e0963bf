"""Labels that mend: what is believed of each label of the data set, in place of it."""

from __future__ import annotations

from reweight.labels.mended_labels import MendedLabels
from reweight.labels.remembered import RememberedLabels
from reweight.labels.soft_labels import SoftLabels

__all__ = ["MendedLabels", "RememberedLabels", "SoftLabels"]
