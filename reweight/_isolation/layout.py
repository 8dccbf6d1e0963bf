"""What was found by a look through a model, as long as it holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Any

from torch import Tensor, nn

from reweight._isolation.containers import Containers
from reweight._isolation.contents import tensors_in
from reweight._isolation.unchanged import Unchanged

_flags = attrgetter("requires_grad")


class Layout:
    """A model's containers, tensors and parameters.

    To look through a model takes longer than a step of a small one. What was found is kept from
    one step to the next, and used again while everything that it depends on stands where it
    stood: attributes and slots of every module, dicts, lists and objects in them, the variables
    and classes of the user's functions, and which tensors require a gradient.

    Args:
        containers: What all modules that have a part in the losses keep.
        named: All parameters, under each of their names.
        trainable: Those that require a gradient, each once, by name.
        depends: What else the answer depends on, and what stood in it.

    Attributes:
        containers: As given.
        named: The same.
        trainable: The same.
        tensors: Each of the model's tensors that was not computed from others that are trained.
        untouched: By ``id``, small ones that a whole step was seen to leave alone.
        plain: Which of the tensors no pass writes into, and which may be written into, kept by
            who asks for as long as what is known of them is the same.
    """

    def __init__(
        self,
        containers: Containers,
        named: list[tuple[str, nn.Parameter]],
        trainable: Mapping[str, nn.Parameter],
        depends: Iterable[tuple[Any, Any]] = (),
    ) -> None:
        self.containers = containers
        self.named = named
        self.trainable = trainable
        self._depends = Unchanged(depends)
        everything = {id(tensor): tensor for tensor in _all_tensors(containers)}
        self.tensors: list[Tensor] = [*filter(_stands_by_itself, everything.values())]
        parameters = {id(p): p for _, p in named}
        self._flagged = [*(everything | parameters).values()]
        self._flags = [*map(_flags, self._flagged)]
        self.untouched: set[int] = set()
        self.plain: tuple[int, set[int], tuple[list[Tensor], list[Tensor]]] | None = None

    @property
    def holds(self) -> bool:
        """Whether another look would certainly find the same."""
        return (
            self.containers.still_stand
            and [*map(_flags, self._flagged)] == self._flags
            and bool(self._depends)
        )


def _all_tensors(containers: Containers) -> Iterator[Tensor]:
    for _, _, value in containers.slots:
        yield from tensors_in(value)
    for _, _, tensor in containers.scripted:
        yield tensor


def _stands_by_itself(tensor: Tensor) -> bool:
    """Whether ``tensor`` was not computed from others that are trained."""
    try:
        return not tensor.requires_grad or tensor.is_leaf
    except RuntimeError:  # a view into what FSDP holds the parameters in
        return False
