"""What a scorer may ask about the batch it scores. Every pass is made at most once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from reweight.directional import Method, directional_derivative, forward_mode
from reweight.errors import check_finite
from reweight.guards import Precision, uses_compiler
from reweight.layer_trace import LayerTrace, trace_last_layer
from reweight.objective import Objective, Parameters

_Traces = dict[nn.Module | None, LayerTrace]


@dataclass(frozen=True)
class ForwardPass:
    """Losses of the noisy batch with their graph, and the layers watched meanwhile.

    Attributes:
        losses: ``(C,)`` or the loss map.
        traces: By the layer asked for; ``None`` stands for the last one executed.
    """

    losses: Tensor
    traces: _Traces


class ScoringContext:
    """One noisy batch, the trusted batch it is judged by, and the model as it stands.

    Attributes:
        model: The model, without ``DistributedDataParallel`` or ``torch.compile`` around it.
        noisy: The noisy batch.
        trusted: The trusted batch, or ``None``.
        objective: The losses as a pure function of the model's parameters.
        precision: Autocast for the training pass, none for scores.
        trusted_loss: Mean trusted loss, once something computed it: at θ where that was asked for,
            else at the look-ahead.
    """

    def __init__(
        self,
        objective: Objective,
        noisy: Any,
        trusted: Any,
        *,
        training: bool,
        full_trusted_gradient: bool = False,
    ) -> None:
        self.objective = objective
        self.model = objective.module
        self.noisy = noisy
        self.trusted = trusted
        self.trusted_loss: Tensor | None = None
        self._training = training
        self._full_trusted_gradient = full_trusted_gradient
        self._watched: dict[nn.Module | None, nn.Module | None] = {}
        self._training_pass: ForwardPass | None = None
        self._scoring_pass: ForwardPass | None = None
        self._gradients: dict[frozenset[str], Parameters] = {}
        self.precision = Precision(objective.module)
        # Scores come from the training pass only where that computes what a scoring pass would.
        self._training_pass_scores = (
            training and not self.precision.autocast and not uses_compiler(objective.module)
        )

    @property
    def losses(self) -> Tensor:
        """Unweighted losses of the noisy batch, ``(C,)`` or the loss map, detached."""
        return self.forward_pass().losses.detach()

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return the trainable parameters by name."""
        return self.objective.trainable()

    def trusted_gradient(
        self, names: Iterable[str] | None = None, at: Parameters | None = None
    ) -> Parameters:
        """Return ∇L_v, L_v the mean trusted loss.

        Args:
            names: The parameters wanted; ``None``: all trainable ones. The backward pass stops
                at the earliest of them.
            at: Where to take the gradient, if not at θ: values by parameter name.

        Returns:
            A tensor per parameter name, parameters that L_v does not depend on left out.

        Raises:
            ValueError: If no trusted batch was given.
            NonFiniteError: If a trusted loss is not finite.
        """
        trainable = self.trainable()
        wanted = list(trainable) if names is None else list(names)
        if at is not None:
            return self._trusted_gradient(wanted, at)
        computed = list(trainable) if self._full_trusted_gradient else wanted
        key = frozenset(computed)
        if key not in self._gradients:
            self._gradients[key] = self._trusted_gradient(computed, {})
        found = self._gradients[key]
        return {name: found[name] for name in wanted if name in found}

    def _trusted_gradient(self, names: list[str], at: Parameters) -> Parameters:
        if self.trusted is None:
            raise ValueError(
                "this scorer (or trusted_coefficient) judges by a trusted batch: call "
                "reweighter(noisy, trusted)."
            )
        trainable = self.trainable()
        leaves = {n: at.get(n, trainable[n]).detach().requires_grad_() for n in names}
        losses = self.objective.losses(leaves, self.trusted)
        check_finite(losses, "loss", "trusted")
        mean = losses.mean()
        if not at or self.trusted_loss is None:
            self.trusted_loss = mean.detach()
        if not mean.requires_grad:
            return {}
        found = torch.autograd.grad(mean, list(leaves.values()), allow_unused=True)
        return {n: g for n, g in zip(leaves, found, strict=True) if g is not None}

    def directional_derivative(self, direction: Parameters, method: Method = "forward") -> Tensor:
        """Return ⟨∇L_i(θ), v⟩ for every loss of the noisy batch, detached.

        Args:
            direction: v by parameter name; a missing parameter counts as zero.
            method: See :func:`reweight.directional.directional_derivative`.
        """
        if method == "forward" and self._scoring_pass is None and not self._training_pass_scores:
            return self._derivative_and_scoring_pass(direction)
        baseline = (lambda: self.losses) if self._training_pass_scores else None
        return directional_derivative(
            self.objective, self.noisy, direction, method, baseline=baseline
        )

    def _derivative_and_scoring_pass(self, direction: Parameters) -> Tensor:
        """Let the dual pass serve as the pass to score from, where it shows what is watched."""
        leaves = self._watched_leaves()
        with self._watching() as traces:
            derivative, losses = forward_mode(self.objective, self.noisy, direction, leaves)
        if self._as_expected(traces):
            check_finite(losses, "loss", "noisy")
            self._scoring_pass = ForwardPass(losses, traces)
        return derivative

    def watch(self, layer: nn.Module | None, hint: nn.Module | None = None) -> None:
        """Ask, before any pass, that ``layer`` be traced (``None``: the last one executed).

        Args:
            layer: The layer, or ``None``.
            hint: The layer that was last in an earlier step: it spares memory where scores need
                a pass of their own, and is checked.
        """
        self._watched[layer] = layer if hint is None else hint

    def training_pass(self) -> ForwardPass:
        """Return the ordinary training pass, made at the first call.

        In a context that only scores, this is :meth:`forward_pass`.
        """
        if not self._training:
            return self.forward_pass()
        if self._training_pass is None:
            # Hooks would break a compiled graph, and show a scorer half-precision numbers.
            hooked = self._training_pass_scores
            with (
                self.precision.for_training(),
                self._watching() if hooked else _nothing_watched() as traces,
            ):
                losses = self.objective.training_losses(self.noisy)
            check_finite(losses, "loss", "noisy")
            self._training_pass = ForwardPass(losses, traces)
        return self._training_pass

    def forward_pass(self) -> ForwardPass:
        """Return a pass to score from: the training pass, but for autocast and compilers."""
        if self._training_pass_scores:
            return self.training_pass()
        if self._scoring_pass is None:
            self._scoring_pass = self._pass_of_its_own()
        return self._scoring_pass

    def _pass_of_its_own(self) -> ForwardPass:
        with self._watching() as traces:
            losses = self.objective.losses(self._watched_leaves(), self.noisy)
        if not self._as_expected(traces):
            # A layer asked for as «the last one» is not known yet, or is another one now.
            everything = {n: p.detach().requires_grad_() for n, p in self.trainable().items()}
            with self._watching() as traces:
                losses = self.objective.losses(everything, self.noisy)
        check_finite(losses, "loss", "noisy")
        return ForwardPass(losses, traces)

    def _watched_leaves(self) -> Parameters:
        """Return the watched layers' parameters as leaves: nothing before them is recorded."""
        layers = [layer for layer in self._watched.values() if layer is not None]
        inside = {id(p) for layer in layers for p in layer.parameters()}
        return {
            name: p.detach().requires_grad_()
            for name, p in self.trainable().items()
            if id(p) in inside
        }

    def _as_expected(self, traces: _Traces) -> bool:
        return all(
            hint is not None and traces[asked].layer is hint
            for asked, hint in self._watched.items()
        )

    @contextmanager
    def _watching(self) -> Iterator[_Traces]:
        with ExitStack() as stack:
            yield {
                layer: stack.enter_context(trace_last_layer(self.model, layer))
                for layer in self._watched
            }


@contextmanager
def _nothing_watched() -> Iterator[_Traces]:
    yield {}
