"""Noisy batches, each with a trusted one beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from reweight._isolation.random_state import RandomState
from reweight._loading.epochs import announce, epoch_of
from reweight._loading.passes import Pass
from reweight._loading.streams import own_streams, put_back, states_of

Noisy = TypeVar("Noisy")
Trusted = TypeVar("Trusted")


class Paired(Generic[Noisy, Trusted]):
    """Pairs ``(noisy batch, trusted batch)``, one pass over the noisy loader an iteration.

    See :func:`paired`, which makes one.

    Example:
        >>> from reweight import paired
        >>> batches = paired(["a", "b", "c"], ["x", "y"])  # loaders, as a rule
        >>> len(batches), list(batches)
        (3, [('a', 'x'), ('b', 'y'), ('c', 'x')])
        >>> list(batches)[0]  # the trusted ones go on from where they were
        ('a', 'y')
    """

    def __init__(self, noisy_loader: Iterable[Noisy], trusted_loader: Iterable[Trusted]) -> None:
        _check(noisy_loader, "noisy_loader")
        _check(trusted_loader, "trusted_loader")
        if noisy_loader is trusted_loader:
            raise ValueError(
                "noisy_loader and trusted_loader are one object, which would be gone through "
                "twice at a time. Make a loader for each."
            )
        self._loaders: tuple[Iterable[Noisy], Iterable[Trusted]] = (noisy_loader, trusted_loader)
        self._noisy: Pass[Noisy] | None = None
        self._trusted: Pass[Trusted] | None = None
        self._next, self._next_trusted = 0, 0
        self._announced = 0
        self._loaded: dict[str, Any] | None = None

    def __len__(self) -> int:
        """Return the number of noisy batches in a pass.

        Raises:
            TypeError: If the noisy loader has no length.
        """
        return len(self._loaders[0])  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[tuple[Noisy, Trusted]]:
        noisy = self._begin()
        try:
            for batch in noisy:
                yield batch, self._trusted_batch()
        finally:
            noisy.close()

    def set_epoch(self, epoch: int) -> None:
        """Say which pass over the noisy loader is next, as ``DistributedSampler`` needs to know.

        They are counted from 0 without that; a ``set_epoch`` of the sampler itself is respected.
        """
        self._next = self._announced = epoch
        announce(self._loaders[0], epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return where both loaders stand.

        In the middle of a pass, also of one that was left by ``break``, it says after which batch.
        A loader with a state of its own (``torchdata``'s ``StatefulDataLoader``) is asked for it.
        Of any other the number of batches is kept, and the state of PyTorch's random generators
        when its pass began, by which the same order comes again.

        Returns:
            Plain containers, numbers and tensors, besides what a loader returns of its own.
        """
        if self._loaded is not None:
            return self._loaded
        return {
            "noisy": None if self._noisy is None else self._noisy.state_dict(),
            "trusted": None if self._trusted is None else self._trusted.state_dict(),
            "next": [self._next, self._next_trusted],
            "generators": [states_of(own_streams(loader)) for loader in self._loaders],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned, when next iterated over.

        Saved in the middle of a pass, the next iteration is the rest of that pass. A loader
        without a state of its own then loads once more what it had handed out. The global streams
        of random numbers are left alone.

        Raises:
            ValueError: If it is no such state.
        """
        if not isinstance(state, Mapping) or not {"noisy", "trusted", "next"} <= state.keys():
            raise ValueError("this is not what state_dict() of a paired() returned.")
        self._noisy = self._trusted = None
        self._loaded = dict(state)

    def _begin(self) -> Pass[Noisy]:
        resumed = self._resume()
        if resumed is not None:
            return resumed
        number = self._next
        theirs = epoch_of(self._loaders[0])
        if theirs is not None and theirs != self._announced:  # the caller has said so meanwhile
            number = theirs
        self._noisy = None
        self._noisy = Pass(self._loaders[0], number)
        self._announced, self._next = number, number + 1
        return self._noisy

    def _resume(self) -> Pass[Noisy] | None:
        state, self._loaded = self._loaded, None
        if state is None:
            return None
        self._next, self._next_trusted = state["next"]
        before = RandomState([])  # what is loaded once more moves the streams
        try:
            if state["noisy"] is not None:
                self._noisy = Pass.resumed(self._loaders[0], state["noisy"])
                self._announced = epoch_of(self._loaders[0]) or 0
            if state["trusted"] is not None:
                self._trusted = Pass.resumed(self._loaders[1], state["trusted"])
            for loader, states in zip(self._loaders, state["generators"], strict=True):
                put_back(own_streams(loader), states)
        finally:
            before.restore()
        return self._noisy

    def _trusted_batch(self) -> Trusted:
        while True:
            if self._trusted is None:
                self._trusted = Pass(self._loaders[1], self._next_trusted)
                self._next_trusted += 1
            for batch in self._trusted:
                return batch
            if self._trusted.taken == 0:
                raise ValueError(
                    "trusted_loader returned no batch, so nothing can judge the noisy ones. "
                    + (
                        "Is its data set empty, or smaller than a batch with drop_last=True?"
                        if self._trusted.number == 0
                        else "It did in an earlier pass: can it be iterated over more than once?"
                    )
                )
            self._trusted.close()  # before the next pass starts workers of its own
            self._trusted = None


def paired(
    noisy_loader: Iterable[Noisy], trusted_loader: Iterable[Trusted]
) -> Paired[Noisy, Trusted]:
    """Return the noisy batches, each with a trusted batch beside it.

    An iteration is one pass over the noisy loader. The trusted loader is begun again, and so
    shuffled anew, whenever it ends; the next iteration goes on where the last one left it. So make
    the pair once, before the loop over epochs: made in every epoch, it begins the trusted loader
    in every epoch. ``DistributedSampler.set_epoch`` is called for both.

    Args:
        noisy_loader: A ``DataLoader``, or anything that can be iterated over again and again. It
            may be endless.
        trusted_loader: The same.

    Returns:
        An object to iterate over once an epoch, with ``len``, ``set_epoch``, ``state_dict`` and
        ``load_state_dict``.

    Raises:
        TypeError: If one is an iterator, which ends for good, or cannot be iterated over.
        ValueError: If both are one object; while iterating, if the trusted loader is empty.

    Example:
        >>> import torch
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> from reweight import paired
        >>> noisy = DataLoader(TensorDataset(torch.randn(20, 4)), batch_size=4, shuffle=True)
        >>> trusted = DataLoader(TensorDataset(torch.randn(6, 4)), batch_size=3, shuffle=True)
        >>> batches = paired(noisy, trusted)
        >>> for epoch in range(2):
        ...     shapes = {(x.shape[0], v.shape[0]) for (x,), (v,) in batches}
        >>> shapes
        {(4, 3)}
    """
    return Paired(noisy_loader, trusted_loader)


def _check(loader: object, name: str) -> None:
    # Some loaders are iterators and can be begun again all the same; these cannot.
    kind = type(loader)
    once = not hasattr(loader, "__len__") or kind.__module__ == "torch.utils.data.dataloader"
    if hasattr(loader, "__next__") and once:
        raise TypeError(
            f"{name} is an iterator ({kind.__name__}), which ends for good after one pass. "
            f"Give the loader itself, not iter(loader), and an object with __iter__ in place of a "
            f"generator."
        )
    if not hasattr(loader, "__iter__") and not hasattr(loader, "__getitem__"):
        raise TypeError(
            f"{name} must be a DataLoader, or another object that returns batches when iterated "
            f"over; got {type(loader).__name__}."
        )
