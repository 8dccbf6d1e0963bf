"""The slow, obvious way to every number, in plain autograd; nothing of the library is used."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torchopt
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from tests.device import random_state, set_random_state

Forward = Callable[[nn.Module, Any], Tensor]  # model, batch -> losses of any shape


@contextlib.contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Put the buffers and the random stream back at the end."""
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    random = random_state()
    try:
        yield
    finally:
        set_random_state(random)
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(buffers[name])


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def gradient(value: Tensor, parameters: Sequence[Tensor], *, create_graph: bool = False) -> Tensor:
    """The gradient as one vector; zero where `value` does not depend on a parameter."""
    grads = torch.autograd.grad(
        value, parameters, allow_unused=True, materialize_grads=True, create_graph=create_graph
    )
    return flat(grads)


def per_sample_gradients(
    model: nn.Module, forward: Forward, batch: Any, parameters: Sequence[Tensor] | None = None
) -> Tensor:
    """One forward and one backward pass for every entry of the losses: (entries, parameters)."""
    parameters = list(trainable(model).values()) if parameters is None else list(parameters)
    rows: list[Tensor] = []
    entries = 1
    while len(rows) < entries:
        with undisturbed(model):
            losses = forward(model, batch).reshape(-1)
            entries = len(losses)
            rows.append(gradient(losses[len(rows)], parameters))
    return torch.stack(rows)


def mean_gradient(
    model: nn.Module, forward: Forward, batch: Any, parameters: Sequence[Tensor] | None = None
) -> Tensor:
    """The gradient of the mean loss."""
    parameters = list(trainable(model).values()) if parameters is None else list(parameters)
    with undisturbed(model):
        return gradient(forward(model, batch).mean(), parameters)


def gradient_similarity(
    model: nn.Module,
    forward: Forward,
    noisy: Any,
    trusted: Any,
    parameters: Sequence[Tensor] | None = None,
) -> Tensor:
    """The dot product of every loss's gradient with the gradient of the mean trusted loss."""
    rows = per_sample_gradients(model, forward, noisy, parameters)
    return rows @ mean_gradient(model, forward, trusted, parameters)


def last_layer_norms(model: nn.Module, forward: Forward, batch: Any, layer: str) -> Tensor:
    """The norm of every loss's gradient with respect to the weights and bias of `layer`."""
    parameters = list(model.get_submodule(layer).parameters())
    return per_sample_gradients(model, forward, batch, parameters).norm(dim=1)


class _Losses(nn.Module):
    """The losses as a module, so that functional_call reaches the parameters of any forward."""

    def __init__(self, model: nn.Module, forward: Forward) -> None:
        super().__init__()
        self.model, self.compute = model, forward

    def forward(self, batch: Any) -> Tensor:
        return self.compute(self.model, batch)


def losses_at(
    model: nn.Module, forward: Forward, parameters: dict[str, Tensor], batch: Any
) -> Tensor:
    """The losses with other values for the parameters, differentiable with respect to them."""
    values = {f"model.{name}": value for name, value in parameters.items()}
    values |= {f"model.{name}": buffer.clone() for name, buffer in model.named_buffers()}
    random = random_state()
    try:
        return torch.func.functional_call(_Losses(model, forward), values, (batch,))
    finally:
        set_random_state(random)


def meta_gradient(
    model: nn.Module,
    forward: Forward,
    noisy: Any,
    trusted: Any,
    optimizer: torchopt.base.GradientTransformation | None = None,
    inner_steps: int = 1,
) -> Tensor:
    """Algorithm 1, lines 5 to 11, with a minus sign: -d L_v(theta(w)) / dw at w = 0."""
    optimizer = torchopt.sgd(lr=1.0) if optimizer is None else optimizer
    theta: dict[str, Tensor] = {
        name: p.detach().clone().requires_grad_() for name, p in trainable(model).items()
    }
    state = optimizer.init(theta)
    w = None
    with sdpa_kernel(SDPBackend.MATH):  # the other kernels cannot be differentiated twice
        for _ in range(inner_steps):
            losses = losses_at(model, forward, theta, noisy)
            w = torch.zeros_like(losses, requires_grad=True) if w is None else w
            grads = torch.autograd.grad(
                (w * losses).sum(),
                list(theta.values()),
                create_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )
            updates, state = optimizer.update(
                dict(zip(theta, grads, strict=True)), state, params=theta, inplace=False
            )
            theta = torchopt.apply_updates(theta, updates, inplace=False)
        value = losses_at(model, forward, theta, trusted).mean()
        return -torch.autograd.grad(value, w)[0]


def live_meta_gradient(
    model: nn.Module,
    forward: Forward,
    noisy: Any,
    trusted: Any,
    optimizer: torch.optim.Optimizer,
) -> Tensor:
    """The same through one step of a PyTorch optimiser, from its present state."""
    names = {p: name for name, p in trainable(model).items()}
    losses = losses_at(model, forward, trainable(model), noisy)
    w = torch.zeros_like(losses, requires_grad=True)
    grads = torch.autograd.grad(
        (w * losses).sum(),
        list(names),
        create_graph=True,
        allow_unused=True,
        materialize_grads=True,
    )
    grad_of = dict(zip(names, grads, strict=True))
    copies = {p: p.detach().clone().requires_grad_().clone() for p in names}
    groups, moving = [], []
    for group in optimizer.param_groups:
        used = [p for p in group["params"] if p in names]
        # A group's own settings are stronger: by default, tensors of a GPU are moved in place.
        options = {"differentiable": True, "foreach": False, "fused": False}
        groups.append({**group, "params": [copies[p] for p in used], **options})
        moving += used
        if group.get("momentum") and not any(optimizer.state.get(p) for p in used):
            # The first step takes the gradient itself for its buffer, but cuts it off the graph.
            groups[-1]["dampening"] = 0.0
    twin = type(optimizer)(groups, differentiable=True, foreach=False)
    for p in moving:
        copies[p].grad = grad_of[p]
        for key, value in optimizer.state.get(p, {}).items():
            copied = value.clone() if torch.is_tensor(value) else value
            # The step counts in float32; only differentiable=True computes with it as a tensor.
            twin.state[copies[p]][key] = copied.double() if key == "step" else copied
        if isinstance(optimizer, torch.optim.SGD):
            twin.state[copies[p]].setdefault("momentum_buffer", torch.zeros_like(copies[p]))
    twin.step()
    theta = {name: copies[p] for p, name in names.items()}
    value = losses_at(model, forward, theta, trusted).mean()
    return -torch.autograd.grad(value, w)[0]
