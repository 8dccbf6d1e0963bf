"""Norms of the last layer's gradient, per sample or per element, without C backward passes.

∂L_i/∂θ_out needs only what the layer was fed and ∂L_i/∂z, z its output; and where the losses
depend on z row by row, a single backward pass of ΣL, from the losses to z, holds every ∂L_i/∂z.
"""

from __future__ import annotations

from reweight.layer_gradients.element_norms import element_norms
from reweight.layer_gradients.sample_norms import sample_norms

__all__ = ["element_norms", "sample_norms"]
