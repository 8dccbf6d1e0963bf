"""Ways to a cheaper step that were tried, for whoever wants to try again; none by default."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call

from benchmarks.meta_step.peers import normalized
from benchmarks.meta_step.problem import Problem, Step
from reweight import GradientSimilarity, MetaReweighter

Builder = Callable[[Problem], Step]


def _step(problem: Problem, **options: Any) -> Step:
    reweighter = MetaReweighter(problem.model, problem.loss, **options)  # type: ignore[arg-type]
    return lambda: problem.descend(reweighter(problem.noisy, problem.trusted).loss)


def _own_pass(problem: Problem) -> Step:
    """The directional derivative in a forward pass of its own, beside no other."""
    reweighter = MetaReweighter(problem.model, problem.loss, scorer=GradientSimilarity())  # type: ignore[arg-type]
    reweighter._objective.verdicts.can_be_followed = False
    return lambda: problem.descend(reweighter(problem.noisy, problem.trusted).loss)


def _recorded_tangents(problem: Problem) -> Step:
    """PyTorch's forward mode on the training pass itself: its graph keeps the tangents too."""
    parameters = _trainable(problem)

    def step() -> None:
        direction = _trusted_gradient(problem, parameters)
        with forward_ad.dual_level():
            duals = {
                name: forward_ad.make_dual(p, direction[name])  # type: ignore[no-untyped-call]
                for name, p in parameters.items()
            }
            losses = problem.losses(
                lambda inputs: functional_call(problem.module, duals, (inputs,)), problem.noisy
            )
            losses, scores = forward_ad.unpack_dual(losses)  # type: ignore[no-untyped-call]
            weights = normalized(scores.detach())
        problem.descend((weights * losses).sum())

    return step


def _last_quarter(problem: Problem) -> Step:
    """Gradients of the last quarter of the parameter tensors alone."""
    names = list(_trainable(problem))
    last = names[len(names) - max(1, round(0.25 * len(names))) :]
    return _step(problem, scorer=GradientSimilarity(parameters=last))


def _half_trusted(problem: Problem) -> Step:
    """Half of the trusted batch."""
    inputs, labels = problem.trusted
    half = max(1, len(labels) // 2)
    problem.trusted = (inputs[:half], labels[:half])
    return _step(problem, scorer=GradientSimilarity())


def _channels_last(problem: Problem) -> None:
    forms = {4: torch.channels_last, 5: torch.channels_last_3d}
    if problem.noisy[0].dim() not in forms:
        raise NotImplementedError("inputs without channels and places have no other order")
    form = forms[problem.noisy[0].dim()]
    problem.module.to(memory_format=form)  # type: ignore[call-overload]
    problem.noisy, problem.trusted = (
        (inputs.to(memory_format=form), labels)
        for inputs, labels in (problem.noisy, problem.trusted)
    )


def _channels_last_plain(problem: Problem) -> Step:
    """Plain training with channels innermost in memory."""
    _channels_last(problem)
    return lambda: problem.descend(problem.losses(problem.model, problem.noisy).mean())


def _channels_last_similarity(problem: Problem) -> Step:
    """Gradient similarity with channels innermost in memory."""
    _channels_last(problem)
    return _step(problem, scorer=GradientSimilarity())


def _layer_products(problem: Problem) -> Step:
    """⟨∇L_i, v⟩ = Σ_layers ⟨b_i, layer(a_i; v)⟩, a the inputs and b the output gradients kept.

    The backward pass stops short of parameter gradients; those of the weighted loss are then
    products of the same a and b. For layers that treat samples one by one, and written here for
    linear ones alone.
    """
    layers = [part for part in problem.module.modules() if any(part._parameters)]
    if not all(isinstance(layer, nn.Linear) for layer in layers):
        raise NotImplementedError("written for models of linear layers")
    parameters = _trainable(problem)
    names = {id(p): name for name, p in parameters.items()}
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []

    def keep(_: nn.Module, args: tuple[Tensor], output: Tensor) -> Tensor:
        # The graph begins at the first output: no parameter gradient is computed.
        inputs.append(args[0].detach())
        outputs.append(output if output.requires_grad else output.requires_grad_())
        return outputs[-1]

    def step() -> None:
        direction = _trusted_gradient(problem, parameters)
        handles = [layer.register_forward_hook(keep) for layer in layers]
        for p in parameters.values():
            p.requires_grad_(False)
        losses = problem.losses(problem.module, problem.noisy)
        gradients = torch.autograd.grad(losses.sum(), outputs)
        for handle in handles:
            handle.remove()
        with torch.no_grad():
            scores = torch.zeros_like(losses)
            for layer, a, b in zip(layers, inputs, gradients, strict=True):
                moved = a @ direction[names[id(layer.weight)]].mT
                moved = moved + direction[names[id(layer.bias)]]
                scores += (b * moved).flatten(1).sum(1)
            weights = normalized(scores)
            for layer, a, b in zip(layers, inputs, gradients, strict=True):
                weighted = weights[:, None] * b
                layer.weight.grad, layer.bias.grad = weighted.mT @ a, weighted.sum(0)
        for p in parameters.values():
            p.requires_grad_(True)
        inputs.clear()
        outputs.clear()
        problem.optimizer.step()
        problem.optimizer.zero_grad()

    return step


def _trainable(problem: Problem) -> dict[str, nn.Parameter]:
    return {n: p for n, p in problem.module.named_parameters() if p.requires_grad}


def _trusted_gradient(problem: Problem, parameters: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    mean = problem.losses(problem.module, problem.trusted).mean()
    return dict(zip(parameters, torch.autograd.grad(mean, list(parameters.values())), strict=True))


IDEAS: dict[str, Builder] = {
    "idea-own-pass": _own_pass,
    "idea-recorded-tangents": _recorded_tangents,
    "idea-layer-products": _layer_products,
    "idea-last-quarter": _last_quarter,
    "idea-half-trusted": _half_trusted,
    "idea-channels-last-plain": _channels_last_plain,
    "idea-channels-last": _channels_last_similarity,
}
