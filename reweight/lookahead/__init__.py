"""The look-ahead θ̂(w) of Eq. 3: one virtual optimiser step on the weighted noisy loss.

A look-ahead says how an optimiser turns parameters and a gradient into new parameters. Its value
at w = 0 and its derivative there are all that a score needs of it.
"""

from __future__ import annotations

from reweight.lookahead.live_optimizer import LiveOptimizer
from reweight.lookahead.protocol import Linearization, Lookahead, linearize
from reweight.lookahead.resolve import LookaheadLike, as_lookahead
from reweight.lookahead.sgd import SGD
from reweight.lookahead.torchopt_optimizer import TorchOptLookahead

__all__ = [
    "SGD",
    "Linearization",
    "LiveOptimizer",
    "Lookahead",
    "LookaheadLike",
    "TorchOptLookahead",
    "as_lookahead",
    "linearize",
]
