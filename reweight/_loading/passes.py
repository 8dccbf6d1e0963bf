"""One pass over a loader, and how far it has gone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from reweight._loading.epochs import announce
from reweight._loading.streams import own_streams, put_back, states_of

B = TypeVar("B")


class Pass(Generic[B]):
    """A pass that begins now.

    Args:
        loader: What is gone through.
        number: Which pass over it this is, from 0.

    Attributes:
        number: The same.
        taken: How many batches it has handed out.
        ended: Whether it has come to its end.
    """

    def __init__(self, loader: Iterable[B], number: int) -> None:
        self.number = number
        self.taken = 0
        self.ended = False
        self._loader = loader
        announce(loader, number)
        self._start = [torch.get_rng_state(), *states_of(own_streams(loader))]
        self._iterator: Iterator[B] | None = iter(loader)

    @classmethod
    def resumed(cls, loader: Iterable[B], state: Mapping[str, Any]) -> Pass[B] | None:
        """Return the pass that ``state`` describes, standing where it stood; ``None``: at its end.

        A loader with a state of its own is given that. Any other begins from the random numbers
        that the pass began from, and hands out again what was taken. The global streams of random
        numbers are the caller's to put back.

        Raises:
            ValueError: If the loader is not like the one the state is of.
        """
        given, start = state["loader"], list(state["start"])
        if given is not None:
            load = getattr(loader, "load_state_dict", None)
            if not callable(load):
                raise ValueError(
                    "the state was saved with a loader that has load_state_dict(), and this one "
                    "has none. Build the loader as it was built then."
                )
            load(given)
        if state["ended"]:
            return None  # what a loader says of itself at its end, it begins again from
        if given is None:
            put_back([torch.default_generator, *own_streams(loader)], start)
        found = cls(loader, state["number"])
        if given is None:
            for _ in range(state["taken"]):
                if next(found, found) is found:
                    raise ValueError(
                        f"the state is of a pass that had handed out {state['taken']} batches, "
                        f"and this loader has {found.taken}: it is of other data."
                    )
        found.taken, found._start = state["taken"], start
        return found

    def __iter__(self) -> Pass[B]:
        return self

    def __next__(self) -> B:
        if self._iterator is None:
            raise StopIteration
        try:
            batch = next(self._iterator)
        except StopIteration:
            self.ended = True
            raise
        self.taken += 1
        return batch

    def close(self) -> None:
        """Let go of the loader's iterator, and with it of worker processes that are not kept."""
        self._iterator = None

    def state_dict(self) -> dict[str, Any]:
        """Return where the pass stands."""
        start: list[Tensor] = self._start
        return {
            "number": self.number,
            "taken": self.taken,
            "ended": self.ended,
            "start": start,
            "loader": _own_state(self._loader),
        }


def _own_state(loader: Any) -> Any:
    if not all(callable(getattr(loader, name, None)) for name in ("state_dict", "load_state_dict")):
        return None
    try:
        return loader.state_dict()
    except AttributeError:  # accelerate's, which has the method but not always what it needs
        return None
