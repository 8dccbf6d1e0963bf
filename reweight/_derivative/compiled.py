"""The model as compiled graphs: its forward pass, and the same along a direction.

What surrounds the model (the loss, a ``forward=`` function) runs as ever. In place of the model's
own ``forward`` stands a functional call, compiled whole: for the trusted gradient, whose backward
pass is then compiled too, and under ``torch.func.jvp`` for the directional derivative.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call, jvp

from reweight._isolation.wrappers import has_dtensors
from reweight._torch_internals import (
    backward_hooks_of_all_modules,
    gradient_hooks,
    hooks_of,
    tree_flatten,
    tree_unflatten,
    without_function_modes,
)
from reweight.errors import REFUSALS, NotCompilableError

Call = Callable[..., Any]

TOLERANCES = {8: 1e-9, 4: 1e-4, 2: 1e-1}
"""By the size of a number: how far compiled code may be from eager code, relatively."""


class CompiledModel:
    """One model's graphs, compiled when they are first needed, again for other shapes or modes.

    Args:
        module: The model, without wrappers.
        backend: Of ``torch.compile``.
    """

    def __init__(self, module: nn.Module, backend: str) -> None:
        self.module = module
        self.backend = backend
        self._plain: _Plain | None = None
        self._graphs: dict[str, Call] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles compile anew."""
        return {**self.__dict__, "_plain": None, "_graphs": {}}

    @contextmanager
    def forwards(self) -> Iterator[None]:
        """Let the model run compiled in the body, to be differentiated once by a backward pass."""

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._run("forward", *self._state(), args, kwargs)

        with self._in_place_of_forward(call):
            yield

    @contextmanager
    def along(self, direction: Mapping[str, Tensor]) -> Iterator[None]:
        """Let the model run compiled in the body, its outputs with tangents along ``direction``.

        The level of forward mode is entered when it has run, so that what comes after carries the
        tangents on; whoever leaves the body finds them there.

        Args:
            direction: By parameter name.
        """
        ran: list[bool] = []
        with ExitStack() as levels:

            def call(*args: Any, **kwargs: Any) -> Any:
                if ran:
                    raise NotCompilableError(
                        "the model is called more than once in a pass, where one call would have "
                        "to go on from the tangents of another"
                    )
                ran.append(True)
                parameters, buffers = self._state()
                moving = {name: parameters.pop(name) for name in direction}
                out, tangents = self._run(
                    "jvp", moving, dict(direction), parameters, buffers, args, kwargs
                )
                levels.enter_context(forward_ad.dual_level())
                return _dual(out, tangents)

            with self._in_place_of_forward(call):
                yield

    def refuse_unfit(self, names: Mapping[str, Any]) -> None:
        """Refuse a model of which a compiled graph would not be the whole.

        Args:
            names: Of the parameters that are differentiated by.

        Raises:
            NotCompilableError: If it has hooks, is spread over ranks, has a ``forward`` put in
                place, or shares the losses with modules that have parameters of their own.
        """
        own = dict(self.module.named_parameters())
        if others := [name for name in names if name not in own]:
            raise NotCompilableError(f"the parameter(s) {_listed(others)} are not the model's own")
        if has_dtensors(self.module):
            raise NotCompilableError("its parameters are spread over ranks (DTensor)")
        if "forward" in vars(self.module):
            raise NotCompilableError("its forward has been replaced (by a framework, perhaps)")
        for name, part in self.module.named_modules():
            if any(not _is_ours(hook) for hook in hooks_of(part)):
                raise NotCompilableError(
                    f"{name or 'the model'} has hooks, which a graph leaves out"
                )
        hooked = [name for name, p in own.items() if gradient_hooks(p)]
        if hooked or backward_hooks_of_all_modules():
            raise NotCompilableError(
                f"gradient hooks on {_listed(hooked) or 'all modules'} may change gradients"
            )

    def _state(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        parameters, buffers = self.module.named_parameters(), self.module.named_buffers()
        return dict(parameters), dict(buffers)

    @contextmanager
    def _in_place_of_forward(self, call: Call) -> Iterator[None]:
        slots = vars(self.module)
        calls: list[bool] = []

        def counted(*args: Any, **kwargs: Any) -> Any:
            del slots["forward"]
            try:
                calls.append(True)
                return call(*args, **kwargs)
            finally:
                slots["forward"] = counted

        slots["forward"] = counted
        try:
            yield
            if not calls:
                raise NotCompilableError(
                    "forward= does not call the model itself, but parts of it, or none"
                )
        finally:
            slots.pop("forward", None)

    def _run(self, which: str, *args: Any) -> Any:
        if not self._graphs:
            self._graphs = self._compiled()
        try:
            # Modes of the library's would be traced along; it has none that a graph would need.
            with without_function_modes(), torch.compiler.set_stance("default"):
                return self._graphs[which](*args)
        except REFUSALS:
            raise
        except Exception as error:
            first = str(error).strip().partition("\n")[0]
            raise NotCompilableError(f"{type(error).__name__}: {first[:300]}") from error

    def _compiled(self) -> dict[str, Call]:
        plain = _Plain(self.module)

        def forward(
            parameters: dict[str, Tensor], buffers: dict[str, Tensor], args: Any, kwargs: Any
        ) -> Any:
            return plain.called(parameters, buffers, args, kwargs)

        def along(
            moving: dict[str, Tensor],
            direction: dict[str, Tensor],
            rest: dict[str, Tensor],
            buffers: dict[str, Tensor],
            args: Any,
            kwargs: Any,
        ) -> Any:
            def at(parameters: dict[str, Tensor]) -> Any:
                return plain.called({**rest, **parameters}, buffers, args, kwargs)

            return jvp(at, (moving,), (direction,))

        return {"forward": self._compile(forward), "jvp": self._compile(along)}

    def _compile(self, function: Any) -> Call:
        # Graphs are kept by code, and so many of each at most: code of its own is counted alone.
        own = types.FunctionType(
            function.__code__.replace(),
            function.__globals__,
            function.__name__,
            function.__defaults__,
            function.__closure__,
        )
        # Random numbers as eager code draws them, for the masks are to be those of training.
        options: Any = {"fallback_random": True} if self.backend == "inductor" else None
        return torch.compile(
            own, fullgraph=True, dynamic=False, backend=self.backend, options=options
        )


class _Plain(nn.Module):
    """Calls the model's class's ``forward``, whatever stands in the model's own place."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return type(self.module).forward(self.module, *args, **kwargs)

    def called(
        self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], args: Any, kwargs: Any
    ) -> Any:
        # Statistics are written into what nobody keeps.
        given = {f"module.{name}": value for name, value in parameters.items()}
        copies = {f"module.{name}": value.clone() for name, value in buffers.items()}
        return functional_call(self, (given, copies), args, kwargs)


def _dual(out: Any, tangents: Any) -> Any:
    values, form = tree_flatten(out)
    along, _ = tree_flatten(tangents)
    duals = [forward_ad.make_dual(x, dx) for x, dx in zip(values, along, strict=True)]  # type: ignore[no-untyped-call]
    return tree_unflatten(duals, form)


def _is_ours(hook: Any) -> bool:
    return str(getattr(hook, "__module__", "")).startswith("reweight.")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:4])
