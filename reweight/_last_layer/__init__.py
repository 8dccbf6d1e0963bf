"""Norms of the last layer's gradient, per sample or per element, without C backward passes.

∂L_i/∂θ_out needs only what the layer was fed and ∂L_i/∂z, z its output; and where the losses
depend on z row by row, a single backward pass of ΣL, from the losses to z, holds every ∂L_i/∂z.
"""

from __future__ import annotations

from reweight._last_layer.findings import Findings
from reweight._last_layer.norms_per_element import element_norms
from reweight._last_layer.norms_per_sample import sample_norms
from reweight._last_layer.unreached import say_if_unreached

__all__ = ["Findings", "element_norms", "sample_norms", "say_if_unreached"]
