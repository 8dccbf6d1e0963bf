"""A model as it stands, and what has changed since."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor, nn

from tests.device import random_state

EVERYTHING = frozenset(
    {"parameters", "gradients", "buffers", "modes", "hooks", "attributes", "random", "globals"}
)


def _bits(tensor: Tensor) -> bytes:
    return tensor.detach().contiguous().cpu().reshape(-1).view(torch.uint8).numpy().tobytes()


def _tensors(pairs: Any) -> dict[str, Any]:
    return {name: (id(t), t.data_ptr(), t.requires_grad, t.is_leaf, _bits(t)) for name, t in pairs}


class Snapshot:
    """Everything about a model, and about PyTorch's global state, that a score must not move."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.seen = self._look()

    def changed(self, *, but: tuple[str, ...] = ()) -> list[str]:
        """The names of what differs now, `but` left out."""
        now = self._look()
        return sorted(key for key in EVERYTHING - set(but) if now[key] != self.seen[key])

    def _look(self) -> dict[str, Any]:
        modules = list(self.model.named_modules())
        parameters = list(self.model.named_parameters(remove_duplicate=False))
        return {
            "parameters": _tensors(parameters),
            "gradients": _tensors((n, p.grad) for n, p in parameters if p.grad is not None),
            "buffers": _tensors(self.model.named_buffers(remove_duplicate=False)),
            "modes": {name: module.training for name, module in modules},
            "hooks": {
                f"{name}.{key}": [(k, id(hook)) for k, hook in value.items()]
                for name, thing in [*modules, *parameters]
                for key, value in _hooks(thing).items()
                if value
            },
            "attributes": {name: _attributes(module) for name, module in modules},
            "random": (_bits(random_state()), random.getstate()),
            "globals": _globals(),
        }


def _hooks(thing: Any) -> dict[str, Any]:
    if isinstance(thing, Tensor):
        keys = ("_backward_hooks", "_post_accumulate_grad_hooks")
        return {key: getattr(thing, key) for key in keys if getattr(thing, key, None)}
    return {key: value for key, value in vars(thing).items() if "hooks" in key and value}


def _attributes(module: nn.Module) -> dict[str, Any]:
    """Names of all attributes; which tensor it is for those that hold one (or a list of them)."""

    def mark(value: Any) -> Any:
        if isinstance(value, Tensor):
            return id(value), _bits(value)
        if isinstance(value, list):
            return [mark(item) for item in value]
        return None

    found: dict[str, Any] = {key: mark(value) for key, value in vars(module).items()}
    for key in ("_parameters", "_buffers", "_modules"):
        found[key] = list(vars(module)[key])
    return found


def _globals() -> tuple[Any, ...]:
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.get_default_dtype(),
        torch.autograd.forward_ad._current_level,
        torch.backends.mha.get_fastpath_enabled(),
        torch.backends.cuda.flash_sdp_enabled(),
        torch.backends.cuda.mem_efficient_sdp_enabled(),
        torch.backends.cuda.math_sdp_enabled(),
    )
