"""Directional derivatives of an ordinary forward pass, computed beside it, operator by operator.

The pass itself is what it would be without them: the same operators on the same tensors, recorded
for the backward pass as ever. Beside each operator, unrecorded, runs what its tangent takes.
"""

from __future__ import annotations

from reweight._derivative.beside_training.follow import NotFollowed, TangentMode

__all__ = ["NotFollowed", "TangentMode"]
