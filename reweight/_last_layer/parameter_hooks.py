"""Hooks on the parameters of the last layer, which see, and may change, their gradients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn

from reweight._isolation.gradient_hooks import GradientHooks
from reweight._isolation.verdicts import Verdicts
from reweight._last_layer.findings import Findings
from reweight._last_layer.trace import LayerTrace
from reweight._torch_internals import gradient_hooks

_ONLY_LOOK = "hooks of parameters only look"


def hooked_parameters(trace: LayerTrace, findings: Findings) -> dict[str, nn.Parameter]:
    """Return the layer's own parameters with hooks that may change a gradient, by name.

    None, once the hooks have been seen to leave every gradient alone in some steps.
    """
    if trace.layer is None or findings.trusts(_ONLY_LOOK):
        return {}
    own = dict(trace.layer.named_parameters())
    return {
        name: own[name] for name in trace.parameters if name in own and gradient_hooks(own[name])
    }


class HonouredHooks:
    """Runs the hooks of ``parameters`` on gradients that were taken without them.

    Args:
        parameters: As :func:`hooked_parameters` returned them.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self._parameters = parameters
        self._kept = {name: dict(gradient_hooks(p)) for name, p in parameters.items()}
        self._hooks = GradientHooks(Verdicts())

    @contextmanager
    def silenced(self) -> Iterator[None]:
        """Keep the hooks from running in the body, where the parameters are differentiated by."""
        for p in self._parameters.values():
            gradient_hooks(p).clear()
        try:
            yield
        finally:
            for name, p in self._parameters.items():
                gradient_hooks(p).update(self._kept[name])

    def applied(self, name: str, gradient: Tensor) -> Tensor:
        """Return what the hooks make of a gradient of the parameter ``name``."""
        for hook in self._kept.get(name, {}).values():
            result = self._hooks.watched(hook)(gradient)
            gradient = gradient if result is None else result
        return gradient

    def note(self, findings: Findings) -> None:
        """Remember if none of the hooks has changed anything."""
        if self._parameters and not self._hooks.change:
            findings.passed(_ONLY_LOOK)
