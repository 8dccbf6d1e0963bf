"""How each operator of PyTorch's hands on the side that the samples lie along.

A rule is told where the samples lie in what an operator returned, and says where they lie in what
it was given: along one side, or nowhere (``None``: every sample is computed from all of it, as
from a weight). It raises :class:`NotByLayers` where the operator may mix samples. An operator
without a rule may do anything.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.autograd.graph import Node

from reweight._derivative.layer_products.samples import (
    NotByLayers,
    Samples,
    Shape,
    broadcast,
    reshaped,
)
from reweight._torch_internals import saved, saved_dimensions

Sides = list[Samples | None]


@dataclass(frozen=True, slots=True)
class Made:
    """A result of an operator.

    Attributes:
        node: The operator, as the graph has it.
        number: Which of its results.
        shape: The result's shape.
        at: Where the samples lie in it.
        given: Shapes of the operands, ``None`` for one that needs no gradient.
        count: How many samples there are.
    """

    node: Node
    number: int
    shape: Shape
    at: Samples
    given: list[Shape | None]
    count: int

    def mixes(self) -> NotByLayers:
        """Return the refusal."""
        return NotByLayers(
            f"{self.node.name()} may mix samples (they lie along side {self.at.side} of its result "
            f"of shape {self.shape})"
        )

    def dimensions(self, sides: int) -> list[int]:
        """Return the dimensions that the operator was asked to work along, of ``sides``."""
        found = saved_dimensions(self.node)
        if found is None:
            raise self.mixes()
        return [d % sides for d in found]

    def first(self) -> Shape:
        """Return the first operand's shape."""
        shape = self.given[0]
        if shape is None:
            raise self.mixes()
        return shape


def elementwise(made: Made) -> Sides:
    """Number by number, operands broadcast."""
    return [None if s is None else broadcast(made.at, made.shape, s) for s in made.given]


def reshape(made: Made) -> Sides:
    """The numbers stay in order, in another shape."""
    found = reshaped(made.at, made.shape, made.first(), made.count)
    if found is None:
        raise made.mixes()
    return [found]


def permuted(made: Made) -> Sides:
    """The sides in another order."""
    return [made.at._replace(side=made.dimensions(len(made.shape))[made.at.side])]


def transposed(made: Made) -> Sides:
    """Two sides change places."""
    if made.node.name() == "TBackward0":
        return [made.at._replace(side=len(made.shape) - 1 - made.at.side)]
    one, other = made.dimensions(len(made.shape))
    side = {one: other, other: one}.get(made.at.side, made.at.side)
    return [made.at._replace(side=side)]


def along(made: Made) -> Sides:
    """The shape stays, and so does every side but those worked along."""
    if made.at.side in made.dimensions(len(made.shape)):
        raise made.mixes()
    return beside(made)


def beside(made: Made) -> Sides:
    """The side of the samples is as long in the operands as in the result."""
    side = made.at.side
    for shape in made.given:
        if shape is not None and (len(shape) != len(made.shape) or shape[side] != made.shape[side]):
            raise made.mixes()
    return [None if shape is None else made.at for shape in made.given]


def reduced(made: Made) -> Sides:
    """Some sides of the operand are gone, or are of length 1."""
    given = made.first()
    gone = set(made.dimensions(len(given)))
    kept = [d for d in range(len(given)) if d not in gone or len(given) == len(made.shape)]
    if len(kept) != len(made.shape):
        raise made.mixes()
    side = kept[made.at.side]
    if side in gone or given[side] != made.shape[made.at.side]:
        raise made.mixes()
    return [made.at._replace(side=side)]


def stacked(made: Made) -> Sides:
    """Operands side by side along a new side."""
    (new,) = made.dimensions(len(made.shape))
    if made.at.side == new:
        raise made.mixes()
    at = made.at._replace(side=made.at.side - (made.at.side > new))
    return [None if shape is None else at for shape in made.given]


def unstacked(made: Made) -> Sides:
    """One of what lies side by side along a side, which is gone."""
    (gone,) = made.dimensions(len(made.first()))
    return [made.at._replace(side=made.at.side + (made.at.side >= gone))]


def front(made: Made) -> Sides:
    """The first side stays; the other operands are weights."""
    given = made.given[0]
    if made.at.side != 0 or (given is not None and given[0] != made.shape[0]):
        raise made.mixes()
    return [made.at, *[None] * (len(made.given) - 1)]


def matrices(made: Made) -> Sides:
    """``a @ b`` of two matrices: rows come from ``a``, columns from ``b``."""
    return [made.at, None] if made.at.side == 0 else [None, made.at]


def sum_and_matrices(made: Made) -> Sides:
    """``c + a @ b``."""
    return [*elementwise(made)[:1], *matrices(made)]


def matrix_and_vector(made: Made) -> Sides:
    """``a @ b``, b a vector."""
    return [made.at, None]


def batched_matrices(made: Made) -> Sides:
    """``a @ b`` of matrices, one pair after the other."""
    side = made.at.side
    return [made.at if side in (0, 1) else None, made.at if side in (0, 2) else None]


def sum_and_batched_matrices(made: Made) -> Sides:
    """``c + a @ b`` likewise."""
    return [*elementwise(made)[:1], *batched_matrices(made)]


def linear(made: Made) -> Sides:
    """``x @ W.t() + b``, x of any shape."""
    if made.at.side == len(made.shape) - 1:
        raise made.mixes()
    return [made.at, None, None]


def weight(made: Made) -> Sides:  # noqa: ARG001
    """What is looked up in, whatever is looked up."""
    return [None]


def layer_norm(made: Made) -> Sides:
    """Normalised over the last sides."""
    normalized = len(saved(made.node, "normalized_shape"))
    if made.number != 0 or made.at.side >= len(made.shape) - normalized:
        raise made.mixes()
    return [made.at, None, None]


def rms_norm(made: Made) -> Sides:
    """The same without a shift."""
    return layer_norm(made)[:2]


def group_norm(made: Made) -> Sides:
    """Normalised within each sample."""
    if made.number != 0 or made.at.side != 0:
        raise made.mixes()
    return [made.at, None, None]


def batch_norm(made: Made) -> Sides:
    """Normalised within each channel."""
    if made.number != 0:
        raise made.mixes()
    if made.at.side == 1:  # instance normalisation: channels of samples
        own = Samples(0, made.at.within)
        return [made.at, own, own]
    if saved(made.node, "training"):
        raise NotByLayers("batch normalisation in train mode computes every sample from all others")
    return [made.at, None, None]


def repeated(made: Made) -> Sides:
    """The operand again and again, along a side."""
    given = made.first()
    side = made.at.side - (len(made.shape) - len(given))
    if side < 0 or made.at.within % given[side] == 0:
        return [None]
    if given[side] != made.shape[made.at.side]:
        raise made.mixes()
    return [Samples(side, made.at.within)]


def attention(made: Made) -> Sides:
    """Queries, keys and values of each sample; a mask of its own, or one for all."""
    if made.number != 0 or made.at.side != 0:
        raise made.mixes()
    found: Sides = []
    for number, shape in enumerate(made.given):
        fits = shape is not None and len(shape) == 4 and shape[0] == made.shape[0]
        if number < 3 and shape is not None and not fits:
            raise made.mixes()
        found.append(made.at if fits else None)
    return found


def class_loss(made: Made) -> Sides:
    """A loss of class scores, which lie along the second side."""
    side = made.at.side if made.at.side == 0 or len(made.shape) == 0 else made.at.side + 1
    return [made.at._replace(side=side), *[None] * (len(made.given) - 1)]


def indexed(made: Made) -> Sides:
    """Sides before those that are indexed stay; or each sample picks its own."""
    indices = saved(made.node, "indices")
    which = [d for d, index in enumerate(indices) if index is not None]
    together = which == list(range(which[0], which[-1] + 1))
    if together and made.at.side < which[0]:  # sides before those that are indexed stay
        return [made.at]
    each = [indices[d] for d in which]
    if (
        which[0] == 0
        and made.at == (0, 1)
        and all(index.dim() <= 1 for index in each)
        and each[0].shape == (made.count,)
        # x[torch.arange(C), which]: of every sample its own
        and torch.equal(each[0], torch.arange(made.count, device=each[0].device))
        and made.first()[0] == made.count
    ):
        return [made.at]
    raise made.mixes()


def padded(made: Made) -> Sides:
    """Longer sides."""
    pad = list(saved(made.node, "pad"))
    behind = 2 * (len(made.shape) - 1 - made.at.side)
    if any(pad[behind : behind + 2]):
        raise made.mixes()
    return [made.at]
