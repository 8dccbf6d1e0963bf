"""Directional derivatives and weighted gradients as products of each layer's input and δ.

Where samples are independent, one backward pass to the layers' outputs holds all that is needed.
"""

from __future__ import annotations

from reweight._derivative.layer_products.layers import LayerProducts
from reweight._derivative.layer_products.proof import Proof, proof
from reweight._derivative.layer_products.samples import NotByLayers

__all__ = ["LayerProducts", "NotByLayers", "Proof", "proof"]
