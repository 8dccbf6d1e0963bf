"""The sample losses of a model, as a pure function of its parameters.

Everything that differentiates goes through here, so that what a scoring pass must leave as it
found it is guarded in one place: parameters, gradients, buffers, random numbers, modes, memories.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from reweight._isolation.autocast import autocast_inside_off
from reweight._isolation.batches import fresh
from reweight._isolation.checkpoints import without_checkpoints
from reweight._isolation.containers import Containers
from reweight._isolation.gradient_hooks import GradientHooks
from reweight._isolation.known_leaves import KnownLeaves
from reweight._isolation.layout import Layout
from reweight._isolation.losses import Losses
from reweight._isolation.owners import Looked, modules_beside
from reweight._isolation.reach import Reach
from reweight._isolation.scoring_mode import ScoringMode, WritesInto
from reweight._isolation.scoring_pass import Attention, scoring_pass
from reweight._isolation.start import Start, Writes
from reweight._isolation.verdicts import Verdicts
from reweight._isolation.wrappers import (
    bypassed,
    data_parallel_wrappers,
    may_be_sharded,
    refuse_sharded,
    unwrapped,
)
from reweight._torch_internals import compiler_loaded
from reweight.errors import NOT_THE_USERS, REFUSALS

__all__ = ["LossFunction", "Objective", "Parameters", "unwrapped"]

Parameters = dict[str, Tensor]
LossFunction = Callable[[nn.Module, Any], Losses]
T = TypeVar("T")
P = TypeVar("P", bound=Mapping[str, Tensor])


class Objective:
    """Losses of a batch as a function of the trainable parameters.

    Those are the model's, and those of modules that the loss or the forward function brings
    along, named after where they were found (``loss.centres``).

    Attributes:
        model: The model as the user gave it, wrappers included; training runs through it.
        module: The module inside the wrappers; scoring runs through it.
        beside: Further modules that have a part in the losses, by name.
        verdicts: What has been found out about it.
        self_check: Whether its derivatives are checked in the first steps.
        hooks: Its gradient hooks.
        passes: How many scoring passes have been made.
        known_leaves: Looks for parameters that nobody knows of.
    """

    def __init__(
        self, model: nn.Module, losses: LossFunction, function: Callable[..., Any] | None = None
    ) -> None:
        self.model = model
        self.module: nn.Module = unwrapped(model)[-1]
        self.verdicts: Verdicts = Verdicts()
        self.self_check = True
        self.hooks: GradientHooks = GradientHooks(self.verdicts)
        self.passes = 0
        self._function = function
        self._losses = losses
        self._writes = Writes()
        self._learning = False
        self.known_leaves: KnownLeaves = KnownLeaves()
        self._checked: weakref.ref[Start] | None = None
        self._layout: Layout | None = None
        self._wrappers: list[nn.parallel.DistributedDataParallel] = []

    @property
    def can_be_followed(self) -> bool:
        """Whether tangents may be computed beside the training pass, for all that is known."""
        return self.verdicts.can_be_followed

    @property
    def beside(self) -> dict[str, nn.Module]:
        """Further modules that have a part in the losses, by name."""
        return self._beside(list(self.module.modules()))

    def _beside(
        self, modules: list[nn.Module], depends: Looked | None = None
    ) -> dict[str, nn.Module]:
        if self._function is None:
            return {}
        own = {name for name, _ in self.module.named_children()}
        found = modules_beside(self.module, self._function, modules, depends)
        return {f"{name}_" if name in own else name: part for name, part in found.items()}

    def named_parameters(self, hidden: Iterable[nn.Module] = ()) -> list[tuple[str, nn.Parameter]]:
        """Return all parameters, trainable or not, under each of their names, the model's first.

        Args:
            hidden: Further modules, that the model keeps in a list or an object of its own.
        """
        return self._named(self.beside, hidden)

    def _named(
        self, beside: dict[str, nn.Module], hidden: Iterable[nn.Module]
    ) -> list[tuple[str, nn.Parameter]]:
        found = list(self.module.named_parameters(remove_duplicate=False))
        parts = beside | {f"hidden.{number}": part for number, part in enumerate(hidden)}
        for label, module in parts.items():
            found += module.named_parameters(prefix=label, remove_duplicate=False)
        return found

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles look anew at the model, and whether it is split."""
        return {**self.__dict__, "_checked": None, "_layout": None}

    def state_dict(self) -> dict[str, Any]:
        """Return what earlier passes found out, as plain containers and numbers."""
        return self.verdicts.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what :meth:`state_dict` returned.

        Raises:
            ValueError: If something is missing.
        """
        self.verdicts.load_state_dict(state)

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return the parameters that require a gradient now, each once, by name.

        Those of modules that are hidden in a list are known to :meth:`start` alone.

        Raises:
            ValueError: If there is none, or some have no values yet.
        """
        return _trainable(self.named_parameters())

    def writes_into(self, parameter: Tensor) -> bool:
        """Whether a pass was seen to write into ``parameter``."""
        return bool(self._writes.of(parameter))

    def start(self, *, restores: bool = False) -> Start:
        """Return what the passes of a step that begins now start from.

        Args:
            restores: Whether everything is to be put back to it, the training pass's doing too.

        Raises:
            ValueError: If no parameter requires a gradient, or some have no values yet.
        """
        if self._layout is None or not self._layout.holds:
            self._layout = None  # not kept while another is made
            self._layout = self._look()
        return Start(self._layout, self._writes, restores=restores)

    def _look(self) -> Layout:
        """Look through the model, and what its losses bring along."""
        modules = list(self.module.modules())
        depends: Looked = []
        beside = self._beside(modules, depends)
        modules += [part for module in beside.values() for part in module.modules()]
        reach = Reach(self._function, modules)
        containers = Containers(modules, reach.holders, reach.objects)
        named = self._named(beside, containers.outside)
        named += containers.bare_parameters({id(p) for _, p in named})
        depends += [(holder, holder.contents()) for holder in reach.holders]
        return Layout(containers, named, _trainable(named), depends)

    def values(self, names: Iterable[str], start: Start) -> Parameters:
        """Return parameters as they were at the start, detached, for one pass to use up.

        Args:
            names: Which.
            start: What the pass starts from.
        """
        return {name: start.value(start.trainable[name]) for name in names}

    def leaves(self, names: Iterable[str], start: Start) -> Parameters:
        """Return the same as :meth:`values`, to be differentiated by."""
        return {name: value.requires_grad_() for name, value in self.values(names, start).items()}

    def training_losses(self, batch: Any) -> Losses:
        """Run the ordinary training forward pass and return its losses with their graph."""
        return self._losses(self.model, batch)

    def refuse_sharded(self, start: Start) -> None:
        """Refuse to differentiate what other ranks have a share in. Looks once a ``start``.

        Raises:
            ValueError: See :func:`reweight._isolation.wrappers.refuse_sharded`.
        """
        if self._checked is None or self._checked() is not start:
            if may_be_sharded():
                refuse_sharded(self.model)
            self._wrappers = data_parallel_wrappers(self.module)
            self._checked = weakref.ref(start)

    def evaluate(
        self,
        parameters: Callable[[], P],
        batch: Any,
        then: Callable[[Losses, P], T],
        start: Start,
        *,
        first_order: bool = False,
        backward: bool = True,
        attention: Attention | None = None,
        standing_in: Callable[[], AbstractContextManager[None]] = nullcontext,
        full_precision: bool = False,
        outlives: bool = False,
    ) -> T:
        """Return ``then(losses, parameters)`` at ``parameters``, leaving the model as it is.

        Whatever is differentiated must be so within ``then``, but with ``outlives``: a backward
        pass may run the model again (activation checkpointing), and has to find the same there.

        Args:
            parameters: Makes values for some or all trainable parameters, by name, for one pass
                to use up. The others keep their values and are constants.
            batch: A batch as the losses take it.
            then: Takes the losses, ``(C,)`` or the loss map, differentiable by ``parameters``.
            start: What the pass starts from.
            first_order: Whether ``then`` takes first derivatives by backward passes and no others.
            backward: Whether ``then`` runs a backward pass, whose hooks are then to be run.
            attention: See :func:`~reweight._isolation.scoring_pass.scoring_pass`.
            standing_in: Makes the context in which something stands in for the model's forward.
            outlives: Whether what ``then`` returns is differentiated after all: then no part of the
                model is checkpointed.
            full_precision: Whether to run without autocast though scores are taken under it.

        Raises:
            UnguardedWriteError: If the pass wrote into a tensor that it could not be kept from.
            ValueError: If FSDP or DeepSpeed has split the parameters.
        """
        self.refuse_sharded(start)
        if self.self_check and start.unsure and not self._learning:
            self._learn_writes(batch, start)

        precision = None if full_precision else start.precision

        def attempt(eager: bool) -> T:
            while True:
                given = parameters()
                self.passes += 1
                try:
                    with (
                        autocast_inside_off() if precision is None else _as_it_is() as entered,
                        scoring_pass(start.random, attention=attention, eager=eager),
                        without_checkpoints() if outlives else nullcontext(),
                        start.installed(
                            {id(start.trainable[name]): value for name, value in given.items()},
                            self.hooks,
                            backward=backward,
                        ),
                        # After the modules' own attributes are put back:
                        bypassed(self._wrappers),
                        standing_in(),
                    ):
                        with (
                            ScoringMode(start.guarded, self.hooks),
                            nullcontext()
                            if precision is None
                            else precision.for_training(cached=False),
                        ):
                            losses = self._losses(self.module, fresh(batch))
                        self.verdicts.autocast_inside |= entered()
                        return then(losses, given)
                except WritesInto as found:
                    start.copy_from_now_on(found.storage)

        if not first_order or not compiler_loaded():
            return attempt(eager=True)
        if self.verdicts.needs_compiler:
            return attempt(eager=False)
        try:
            return attempt(eager=True)
        except REFUSALS:
            raise
        except NOT_THE_USERS:
            pass  # and out of this block: the next error, if it is the user's, comes alone
        # Control flow of PyTorch's own (torch.cond) cannot do without its compiler, and a first
        # derivative of compiled code is right.
        found = attempt(eager=False)
        self.verdicts.needs_compiler = True
        return found

    def _learn_writes(self, batch: Any, start: Start) -> None:
        """Find out what passes write into, by a forward pass on copies that records nothing.

        That is the first time that a model is seen. Without it the first pass that is
        differentiated would run on copies, with all its activations beside them.
        """
        self._learning = True
        try:
            with torch.no_grad():
                self.evaluate(_nothing, batch, lambda *_: None, start, backward=False)
        except REFUSALS:
            raise
        except NOT_THE_USERS:  # a loss that is a derivative itself, perhaps
            return
        finally:
            self._learning = False


@contextmanager
def _as_it_is() -> Iterator[Callable[[], bool]]:
    yield lambda: False


def _nothing() -> Parameters:
    return {}


def _trainable(named: Iterable[tuple[str, nn.Parameter]]) -> dict[str, nn.Parameter]:
    found: dict[str, nn.Parameter] = {}
    seen: set[int] = set()
    for name, p in named:
        if p.requires_grad and id(p) not in seen:
            seen.add(id(p))
            found[name] = p
    if not found:
        raise ValueError(
            "the model has no parameter that requires a gradient; there is nothing to train. "
            "Set requires_grad_(True) on some."
        )
    lazy = [name for name, p in found.items() if is_lazy(p)]
    if lazy:
        raise ValueError(
            f"the parameters {', '.join(lazy[:4])} have no values yet. Run one batch through "
            f"the model before the first step, as lazy modules need it."
        )
    return found
