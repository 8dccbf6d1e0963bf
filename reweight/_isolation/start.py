"""What every pass of one step starts from, and where it is put back to."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from reweight._isolation.autocast import Precision
from reweight._isolation.gradient_hooks import GradientHooks
from reweight._isolation.layout import Layout
from reweight._isolation.random_state import RandomState, accelerators
from reweight._isolation.tensor_copies import bytes_of, equal
from reweight._torch_internals import (
    base_of,
    nothing_cached_by_parametrize,
    storage_of,
    version,
)
from reweight.errors import UnguardedWriteError

# Buffers and plain tensors up to this size are copied for every pass, whatever it does to them.
_SMALL = 2**20
# Until it is known what the passes write into, up to this much is copied, in bytes.
_MOST_BYTES = 2**31
_MOST_KNOWN = 100_000


class Writes:
    """Which tensors of a model its forward passes are known to write into, or not to."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[Tensor], bool]] = {}
        self.changes: int = 0  # how often something new was learnt

    def of(self, tensor: Tensor) -> bool | None:
        """Return whether passes write into ``tensor``; ``None`` where that is not known yet."""
        known = self._known.get(id(tensor))
        return None if known is None or known[0]() is not tensor else known[1]

    def __getstate__(self) -> dict[str, Any]:
        """Copies know nothing yet: they are of other tensors."""
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._known = {}
        self.changes = 0

    def note(self, tensor: Tensor, written: bool) -> None:
        """Remember whether a pass wrote into ``tensor``."""
        before = self.of(tensor)
        written = written or bool(before)
        self.changes += written is not before
        if len(self._known) > _MOST_KNOWN:  # a model that makes its tensors anew in every step
            self._known = {
                key: known for key, known in self._known.items() if known[0]() is not None
            }
        self._known[id(tensor)] = weakref.ref(tensor), written


@dataclass(slots=True)
class _Tensor:
    """One tensor of the model as it was when the step began.

    Attributes:
        own: The tensor itself.
        value: A copy of it, or an alias where nothing is expected to write into it.
        version: Its version then.
        copied: Whether ``value`` is a copy.
        unsure: Whether nothing is known of it yet, so that passes get copies to find out.
    """

    own: Tensor
    value: Tensor
    version: int | None
    copied: bool
    unsure: bool


_Alias = tuple[Tensor, Tensor, "int | None"]
"""A tensor that nothing is expected to write into, an alias of it, and its version."""


class Start:
    """What a forward pass starts from: tensors, plain attributes, random number streams.

    Taken once a step, so that every scoring pass starts where the training pass does, whichever
    of them comes first.

    Args:
        layout: What was found by a look through the model.
        writes: What is known of what passes write into; grows.
        restores: Whether :meth:`restore` or :meth:`changed` will be called, for which copies are
            needed that passes do without.

    Attributes:
        named: All parameters, under each of their names.
        trainable: The parameters that require a gradient at the start, by name.
        devices: Devices other than the CPU that hold one of their tensors.
        random: The random number streams, the modules' own generators among them.
        precision: Autocast that scoring passes of the model are to run under; ``None``: they run
            without, and what enters it inside the model is turned off.
    """

    def __init__(self, layout: Layout, writes: Writes, *, restores: bool = False) -> None:
        self.named: list[tuple[str, nn.Parameter]] = layout.named
        self.trainable: Mapping[str, nn.Parameter] = layout.trainable
        self.precision: Precision | None = None
        self._writes = writes
        self._layout = layout
        self._containers = layout.containers
        self._tensors: dict[int, _Tensor] = {}  # of which there are copies, or will be
        plain = self._note_copied(set() if restores else layout.untouched)
        # Most are of neither kind, and are noted all at once.
        values = [tensor.detach() for tensor in plain]
        self._aliases: dict[int, _Alias] = dict(
            zip(map(id, plain), zip(plain, values, _versions(plain), strict=True), strict=True)
        )
        self.devices: list[torch.device] = accelerators(layout.tensors)
        self.random: RandomState = RandomState(self.devices, self._containers.generators)
        self._handed_out: list[tuple[_Tensor, Tensor]] = []
        self._of_training: list[_Tensor] = []
        self._passes = 0

    def _note_copied(self, untouched: set[int]) -> list[Tensor]:
        """Note which tensors are copied, or not known yet, and return the others."""
        known = self._layout.plain
        if known is not None and known[0] == self._writes.changes and untouched is known[1]:
            plain, others = known[2]
        else:
            plain, others = [], self._layout.tensors
        budget, rest = _MOST_BYTES, []
        for tensor in others:
            entry = self._entry(tensor, budget, untouched)
            if entry is None:
                rest.append(tensor)
                continue
            budget -= bytes_of(tensor) if entry.unsure else 0
            self._tensors[id(tensor)] = entry
        if rest:
            plain = plain + rest
            others = [tensor for tensor in others if id(tensor) in self._tensors]
            if untouched is self._layout.untouched:
                self._layout.plain = self._writes.changes, untouched, (plain, others)
        return plain

    def _entry(self, tensor: Tensor, budget: int, untouched: set[int]) -> _Tensor | None:
        written = self._writes.of(tensor)
        small = tensor.numel() <= _SMALL and not isinstance(tensor, nn.Parameter)
        if small and not written and id(tensor) in untouched:
            return None
        unsure = not small and written is None and bytes_of(tensor) <= budget
        copied = small or bool(written)
        if not copied and not unsure:
            return None
        value = tensor.detach()
        return _Tensor(tensor, value.clone() if copied else value, _version(tensor), copied, unsure)

    @property
    def unsure(self) -> bool:
        """Whether there are tensors of which it is not known if passes write into them."""
        return any(entry.unsure for entry in self._tensors.values())

    def before_training(self) -> None:
        """Take copies of what the training pass may write into, for all that is known."""
        for entry in self._tensors.values():
            if entry.unsure:
                entry.value, entry.copied, entry.unsure = entry.value.clone(), True, False
                self._of_training.append(entry)
        # What earlier steps left alone is watched by the scoring passes, where there are any.
        if not self._passes and self._layout.untouched:
            for key in self._layout.untouched & self._aliases.keys():
                self._of_training.append(self._copied(key))

    def _copied(self, key: int) -> _Tensor:
        """Take a copy of a tensor of which there was none."""
        own, value, before = self._aliases.pop(key)
        entry = self._tensors[key] = _Tensor(own, value.clone(), before, copied=True, unsure=False)
        return entry

    def value(self, tensor: Tensor) -> Tensor:
        """Return ``tensor`` as it was at the start, detached, for one pass to use up.

        Raises:
            UnguardedWriteError: If it has been written into since, and no earlier pass had done so.
        """
        alias = self._aliases.get(id(tensor))
        if alias is not None:
            if _version(alias[0]) != alias[2]:
                self._refuse_written(alias[0], "the training pass")
            return alias[1].detach()
        entry = self._tensors.get(id(tensor))
        if entry is None:  # not in any slot
            return tensor.detach()
        if not entry.copied and _version(entry.own) != entry.version:
            self._refuse_written(entry.own, "the training pass")
        copy = entry.value.clone()
        if entry.unsure:
            self._handed_out.append((entry, copy))
        return copy

    def copy_from_now_on(self, storage: int) -> None:
        """Take copies of the tensors in ``storage``: a pass is about to write into them.

        Raises:
            UnguardedWriteError: If the pass had been given copies of them already.
        """
        aliases = [key for key, alias in self._aliases.items() if storage_of(alias[1]) == storage]
        if not aliases:
            touched = [e.own for e in self._tensors.values() if storage_of(e.own) == storage]
            raise UnguardedWriteError(
                f"a scoring pass was about to write into the tensor {self._name(touched[0])}, "
                f"though it was given a copy: by an alias that is kept where it cannot be found "
                f"(in a generator, in an object of another library). Take the tensor from its "
                f"module in every forward pass."
            )
        for key in aliases:
            own, _, before = self._aliases[key]
            if _version(own) != before:
                self._refuse_written(own, "a pass")
            self._writes.note(own, written=True)
            self._copied(key)

    @property
    def has_backward_hooks(self) -> bool:
        """Whether a module has a hook for its backward passes."""
        return any(self._containers.backward_hooks())

    def guarded(self) -> frozenset[int]:
        """Return the storages that no scoring pass may write into, where there are any.

        Those are of what it is given, and of what it is given a copy of. Asked for where a pass is
        about to write into something, which most never are.
        """
        tensors = [
            *(value for _, value, _ in self._aliases.values()),
            *(entry.own for entry in self._tensors.values()),
        ]
        return frozenset(s for tensor in tensors if (s := storage_of(tensor)) is not None)

    @contextmanager
    def installed(
        self, values: Mapping[int, Tensor], hooks: GradientHooks, *, backward: bool
    ) -> Iterator[None]:
        """Put the modules where they stood at the start, in the body.

        Args:
            values: By ``id`` of a parameter, what stands in its place.
            hooks: Watches the modules' backward hooks.
            backward: Whether the body runs a backward pass; if not, the modules' backward hooks
                are left out, which have no forward-mode rule.
        """
        given: dict[int, Tensor] = dict(values)

        def replacement(tensor: Tensor) -> Tensor:
            found = given.get(id(tensor))
            if found is None:
                if id(tensor) not in self._aliases and id(tensor) not in self._tensors:
                    return _view_of(tensor, given)
                found = given[id(tensor)] = self.value(tensor)
            return found

        now = self._containers.exchanged()
        try:
            self._containers.replace(replacement)
            for container in self._containers.backward_hooks():
                watched = {k: hooks.watched(hook) for k, hook in container.items()}
                container.clear()
                container.update(watched if backward else {})
            with nothing_cached_by_parametrize():
                yield
        finally:
            self._containers.put_scripted_back()
            self._containers.put_back(now)
        self._learn()
        self._passes += 1

    def learn_from_training(self) -> None:
        """Look at what the training pass wrote into, where no scoring pass has told."""
        for entry in self._of_training:
            self._writes.note(entry.own, written=not _unchanged(entry))
        for entry in self._tensors.values():
            # Small ones are copied until a whole step was seen to leave them alone.
            if entry.copied and self._writes.of(entry.own) is None:
                if _unchanged(entry):
                    self._layout.untouched.add(id(entry.own))
                else:
                    self._writes.note(entry.own, written=True)
        self._of_training.clear()
        for own in self._written():
            self._writes.note(own, written=True)

    def _written(self) -> list[Tensor]:
        """Return what was written into though no copy had been taken."""
        found = [e.own for e in self._tensors.values() if not e.copied and _is_changed(e)]
        own, _, before = zip(*self._aliases.values(), strict=True) if self._aliases else ((),) * 3
        now = _versions(own)
        if now != [*before]:
            found += [x for x, a, b in zip(own, now, before, strict=True) if a != b]
        return found

    def _learn(self) -> None:
        """Look at what the pass wrote into, and refuse what could not be kept from it."""
        for entry, copy in self._handed_out:
            changed = copy.shape != entry.value.shape or not equal(copy, entry.value)
            self._writes.note(entry.own, written=changed)
            if changed and not entry.copied:
                entry.value, entry.copied = entry.value.clone(), True
            entry.unsure = False
            if not entry.copied:  # one of those that are left alone, from now on
                self._aliases[id(entry.own)] = entry.own, entry.value, entry.version
                self._tensors.pop(id(entry.own), None)
        self._handed_out.clear()
        for own in self._written():
            self._refuse_written(own, "a scoring pass")

    def _refuse_written(self, own: Tensor, who: str) -> None:
        self._writes.note(own, written=True)
        raise UnguardedWriteError(
            f"{who} wrote into the tensor {self._name(own)}, which no pass had done before, "
            f"so that no copy had been taken and this step's scores cannot be told. From the next "
            f"step on a copy is taken; do this step again, or skip it."
        )

    def _name(self, tensor: Tensor) -> str:
        names = (name for name, p in self.named if p is tensor)
        return next(names, f"of shape {tuple(tensor.shape)}")

    def changed(self) -> tuple[int, int]:
        """Return how many tensors, and how many attributes or containers, are not as they were."""
        tensors = sum(entry.copied and not _unchanged(entry) for entry in self._tensors.values())
        return tensors, self._containers.changed()

    def restore(self) -> None:
        """Put everything back where it stood: tensors' values, attributes, random numbers."""
        self._containers.put_back()
        with torch.no_grad():
            for entry in self._tensors.values():
                if entry.copied and not _unchanged(entry):
                    entry.own.copy_(entry.value)
        for own in self._written():
            self._refuse_written(own, "the training pass")
        self.random.restore()


def _view_of(tensor: Tensor, given: Mapping[int, Tensor]) -> Tensor:
    """Return the same view into what stands in its base's place, where ``tensor`` is such a one."""
    base = None if tensor.is_leaf else base_of(tensor)
    found = None if base is None else given.get(id(base))
    if base is None or found is None or found.stride() != base.stride():
        return tensor
    offset = tensor.storage_offset() - base.storage_offset() + found.storage_offset()
    return found.as_strided(tensor.shape, tensor.stride(), offset)


def _unchanged(entry: _Tensor) -> bool:
    return not _is_changed(entry) and equal(entry.own, entry.value)


def _is_changed(entry: _Tensor) -> bool:
    return _version(entry.own) != entry.version


def _version(tensor: Tensor) -> int | None:
    return None if tensor.is_inference() else version(tensor)


def _versions(tensors: Sequence[Tensor]) -> list[int | None]:
    if any(map(Tensor.is_inference, tensors)):
        return [*map(_version, tensors)]
    return [*map(version, tensors)]
