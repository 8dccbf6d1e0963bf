"""The forward passes of the noisy batch in one step, each made at most once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from reweight._derivative.beside_training import NotFollowed, TangentMode
from reweight._derivative.compiled import CompiledModel
from reweight._derivative.double_backward import double_backward
from reweight._derivative.every_label import NoLabelScores, TakeOutput, under_every_label
from reweight._derivative.finite_difference import finite_difference
from reweight._derivative.forward import compiled_forward_mode, forward_mode
from reweight._derivative.layer_products import LayerProducts, NotByLayers
from reweight._derivative.per_sample import per_sample
from reweight._derivative.ways import Method
from reweight._isolation.autocast import Precision, autocast_inside_noticed
from reweight._isolation.batches import fresh
from reweight._isolation.checkpoints import reentrant_checkpoints_noticed
from reweight._isolation.compiled import runs_compiled
from reweight._isolation.graph_leaves import nodes_of
from reweight._isolation.losses import Losses
from reweight._isolation.objective import Objective, Parameters
from reweight._isolation.predictions import Supervised
from reweight._isolation.start import Start
from reweight._isolation.wrappers import data_parallel_wrappers, refuse_spread, several_ranks
from reweight._last_layer.trace import LayerTrace, trace_last_layer
from reweight._step.data_parallel import broadcast_buffers, data_parallel_pass, scores_apart
from reweight._step.later import Later
from reweight._step.modes import DEFAULT, Modes
from reweight._step.repeated import Repeated
from reweight._step.why_not_by_layers import why_not_by_layers
from reweight._torch_internals import anything_compiled, uses_compiler

_Traces = dict[nn.Module | None, LayerTrace]


@dataclass(frozen=True, eq=False)
class ForwardPass:
    """Losses of the noisy batch with their graph, and the layers watched meanwhile.

    Attributes:
        losses: ``(C,)`` or the loss map.
        counted: Which of them count, in their shape; ``None``: all.
        traces: By the layer asked for; ``None`` stands for the last one executed.
        made_from: What the losses were computed from, where that is known.
    """

    losses: Tensor
    counted: Tensor | None
    traces: _Traces
    made_from: Supervised | None = None


class NoisyPasses:
    """The training pass, and what scores need of the noisy batch besides it.

    Scores are taken from the training pass itself, unless autocast, a compiler or a reentrant
    checkpoint is in it: then
    from the pass of a directional derivative, or else from one of their own.

    Attributes:
        objective: The losses as a function of the parameters.
        modes: How scoring passes are computed.
        start: Buffers and random numbers that every pass starts from.
        precision: Autocast for the training pass, and for scores if the modes say so.
        later: What is asked of the device once the step is computed.
        look: Whether to look, in this step, for parameters that nobody knows of.
        noisy: The noisy batch as it came; what the training pass was given may have changed.
        also_used: Parameters that get a gradient from elsewhere than the training pass.
        taken: How the last directional derivative was taken; empty where there was none.
        training_failed: Whether the training pass has raised an error.
        training: Whether the step trains.
        mode: Whether the model is in train or eval mode.
        wants_labels: Whether the derivatives under every label are wanted too.
        products: What gives scores and weighted gradients layer by layer, where they are so taken.
        compiled_losses: Those that the last derivative was of, where a compiled graph took it.
        operators: Names of the operators that the last derivative was taken through twice.
    """

    def __init__(
        self,
        objective: Objective,
        noisy: Any,
        *,
        training: bool,
        later: Later | None = None,
        modes: Modes = DEFAULT,
    ) -> None:
        self.objective = objective
        self.modes = modes
        self._wrappers = data_parallel_wrappers(objective.model) if training else []
        broadcast_buffers(self._wrappers)
        self.start: Start = objective.start()
        self.precision: Precision = Precision(self.start.devices)
        self.start.precision = self.precision if modes.autocast else None
        self.noisy: Any = noisy
        self.training = training
        self._compiled = training and uses_compiler(objective.model)
        self._trains_and_scores = (
            training
            and (modes.autocast or not self.precision.autocast)
            and not self._scores_apart
            and not self._compiled
            and not scores_apart(objective.model, self._wrappers)
        )
        self.also_used: list[Tensor] = []
        self.mode = "train" if objective.module.training else "eval"
        self.look: bool = objective.self_check and objective.verdicts.due(("look", self.mode))
        self.later: Later = later or Later(at_once=True)
        # What is still to be proved is proved of numbers that are known to be finite.
        self.later.at_once |= self.look or bool(self._wrappers)
        self._repeated = Repeated()
        self._watched: dict[nn.Module | None, nn.Module | None] = {}
        self.taken: str = ""
        self.training_failed: bool = False
        self.wants_labels: bool = False
        self.operators: frozenset[str] = frozenset()
        self.compiled_losses: Tensor | None = None
        self._output: tuple[Supervised, Tensor] | str = "no derivative was taken."
        self._for_training: ForwardPass | None = None
        self.products: LayerProducts | None = None
        self._for_scores: ForwardPass | None = None
        objective.known_leaves.forget()

    @property
    def scores_in_float16(self) -> bool:
        """Whether scoring passes of the model run under autocast to float16."""
        return self.modes.autocast and self.precision.narrow

    @property
    def _scores_apart(self) -> bool:
        """Whether scores cannot be taken from the training pass, for what was seen in it."""
        verdicts = self.objective.verdicts
        if self.modes.autocast:
            return verdicts.reentrant_inside or verdicts.compiled_inside
        return verdicts.scores_apart

    def watch(self, layer: nn.Module | None, hint: nn.Module | None = None) -> None:
        """Ask, before any pass, that ``layer`` be traced (``None``: the last one executed).

        Args:
            layer: The layer, or ``None``.
            hint: The layer that was last in an earlier step: with it no other is watched, and
                memory is spared where scores need a pass of their own. It is checked: if another
                one is last now, scores are taken from a pass in which all are watched.

        Raises:
            ValueError: If FSDP or DeepSpeed has split the parameters.
        """
        self.objective.refuse_sharded(self.start)
        self._watched[layer] = layer if hint is None else hint

    def for_training(self) -> ForwardPass:
        """Return the ordinary training pass, or, in a step that only scores, :meth:`for_scores`."""
        if not self.training:
            return self.for_scores()
        return self._for_training or self._train(nullcontext())

    def for_scores(self) -> ForwardPass:
        """Return the pass that scores are taken from."""
        if self._trains_and_scores:
            made = self.for_training()
            # Unless that pass has entered autocast inside the model, or another layer was last.
            if self._trains_and_scores and all(t.as_hinted for t in made.traces.values()):
                return made
        if self._for_scores is None:
            self._for_scores = self._pass_of_its_own()
        return self._for_scores

    def derivative(self, method: Method, direction: Parameters) -> Tensor:
        """Return ⟨∇L_i(θ), v⟩ for every loss, detached; its pass may serve for scores too.

        Args:
            method: How it is taken.
            direction: v by parameter name.
        """
        self.taken = method
        self.operators = frozenset()
        self._output = (
            "the losses are not known to be of logits and labels: have forward= return "
            "SampleLosses(losses, logits=..., labels=...)."
            if method in ("forward", "double_backward")
            else f'method="{method}" does not tell how the model\'s output moves.'
        )
        take = self._take_output if self.wants_labels else None
        shared = self._trains_and_scores
        if method in ("forward", "double_backward"):
            refuse_spread(self.objective.module, method)
        if method == "double_backward":
            return double_backward(
                self.objective, self.noisy, direction, self.start, self._note_operators, take
            )
        if method == "layer_products":
            return self._by_layers(direction)
        if method == "per_sample":
            return per_sample(self.objective, self.noisy, direction, self.start, self.note)
        if method == "finite_difference":
            # A difference of losses needs both from the same kernels, the training pass's here.
            baseline = (lambda: self.for_scores().losses.detach()) if shared else None
            return finite_difference(self.objective, self.noisy, direction, self.start, baseline)
        if self.modes.compiled is not None:
            return self._compiled_derivative(self.modes.compiled, direction, take)
        if shared and self._for_training is None:
            derivative = self._beside_training(direction)
            if derivative is not None:
                self.taken = "beside"
                return derivative
        shared = self._trains_and_scores  # the training pass may have entered autocast
        if self._for_scores is not None or shared:
            return forward_mode(
                self.objective, self.noisy, direction, self.start, take_output=take
            )[0]
        with self._watching(partial=True) as traces:
            derivative, losses = forward_mode(
                self.objective, self.noisy, direction, self.start, self._watched_parameters(), take
            )
        if self._as_expected(traces):
            self._for_scores = self._checked(losses, traces)
        return derivative

    def under_every_label(self) -> tuple[Supervised, Tensor]:
        """Return what the losses are of, and their last :meth:`derivative` under every label.

        Raises:
            NoLabelScores: If it is not known.
        """
        if isinstance(self._output, str):
            raise NoLabelScores(self._output)
        source, tangent = self._output
        return source, under_every_label(source, tangent, self.start.random)

    def _take_output(self, source: Supervised, tangent: Tensor) -> None:
        self._output = source, tangent

    def expected(self, method: Method) -> str:
        """Return what ``taken`` will be after :meth:`derivative`, for all that is known."""
        if self.modes.compiled is not None:
            return "compiled"
        beside = self._trains_and_scores and self._for_training is None
        if method == "forward" and beside and self.objective.verdicts.can_be_followed:
            return "beside"
        return method

    def _by_layers(self, direction: Parameters) -> Tensor:
        """Read the derivative off the training pass.

        Raises:
            NotByLayers: If it cannot be, with the reason.
        """
        if self.products is None:
            hooks = self.objective.hooks
            own = self._trains_and_scores and not self._wrappers
            own = own and not self.precision.autocast
            why = why_not_by_layers(self.objective, hooks, own=own, labels=self.wants_labels)
            if why:
                raise NotByLayers(why)
            made = self.for_training()
            if not self._trains_and_scores:
                raise NotByLayers("autocast, a compiler or a checkpoint is in the training pass")
            self.products = LayerProducts(made.losses, self.start.trainable)
        return self.products.scores(direction)

    def weighted(self, losses: Tensor, weights: Tensor) -> Tensor:
        """Return Σ w_i L_i, a scalar that back-propagates.

        Args:
            losses: Those of the training pass, or others with a graph.
            weights: In their shape.
        """
        if self.products is not None and self.products.losses is losses:
            return self.products.loss(weights)
        for trace in self._for_training.traces.values() if self._for_training else ():
            cut = trace.cut
            if cut is not None and cut.fits(losses, weights) and self._may_be_cut():
                return cut.weighted(weights)
        return (weights * losses).sum()

    def _may_be_cut(self) -> bool:
        """Whether no hook, as far as forward passes show, waits between losses and a layer."""
        hooks = self.objective.hooks
        # To look takes a pass, in which ranks may wait for each other.
        if self._wrappers or several_ranks() or hooks.on_activations or hooks.change:
            return False
        if self.mode not in hooks.looked_in:
            hooks.looked_in.add(self.mode)
            self.objective.evaluate(
                lambda: self.objective.leaves(self.start.trainable, self.start),
                self.noisy,
                lambda *_: None,
                self.start,
                first_order=True,
            )
        return not hooks.on_activations

    def _compiled_derivative(
        self, compiled: CompiledModel, direction: Parameters, take: TakeOutput | None
    ) -> Tensor:
        derivative, losses = compiled_forward_mode(
            compiled, self.objective, self.noisy, direction, self.start, take
        )
        self.taken = "compiled"
        self.compiled_losses = losses.values
        if self._for_scores is None and not self._watched:
            self._for_scores = self._checked(losses, {}, noted=False)
        return derivative

    def _beside_training(self, direction: Parameters) -> Tensor | None:
        """Make the training pass and follow it, or return ``None`` where it cannot be followed."""
        verdicts = self.objective.verdicts
        if not verdicts.can_be_followed:
            return None
        trainable = self.start.trainable
        mode = TangentMode(
            [(trainable[name], v) for name, v in direction.items()], self.start.devices
        )
        made = self._train(mode)
        if self._scores_apart:
            return None
        try:
            derivative = mode.tangent_of(made.losses)
        except NotFollowed as reason:
            verdicts.can_be_followed, verdicts.not_followed = False, str(reason)
            return None
        source = made.made_from if self.wants_labels else None
        if source is not None and isinstance(source.output, Tensor):
            output = source.output.detach()
            try:
                self._take_output(replace(source, output=output), mode.tangent_of(source.output))
            except NotFollowed as reason:
                self._output = f"the model's output was changed: {reason}"
        return derivative

    def _train(self, observer: AbstractContextManager[Any]) -> ForwardPass:
        # Hooks would break a compiled graph, and show a scorer half-precision numbers.
        hooked = self._trains_and_scores
        recognise = observer.same if isinstance(observer, TangentMode) else None
        # The model may write into the batch, as in plain training; no later pass sees it.
        given, self.noisy = self.noisy, fresh(self.noisy)
        self.start.before_training()
        self.training_failed = True  # until it has not
        with (
            data_parallel_pass(
                self._wrappers,
                recognise=recognise,
                also_used=self.also_used,
                compiled=self._compiled,
            ),
            autocast_inside_noticed()
            if hooked and not self.modes.autocast
            else _nothing_noticed() as entered,
            reentrant_checkpoints_noticed() if hooked else _nothing_noticed() as checkpointed,
            observer,
            self.precision.for_training(),
            self._watching() if hooked else _nothing_watched() as traces,
        ):
            losses = self.objective.training_losses(given)
        self.training_failed = False
        self.start.learn_from_training()
        if entered():
            self.objective.verdicts.autocast_inside = True
        if checkpointed():
            self.objective.verdicts.reentrant_inside = True
        if hooked and anything_compiled() and runs_compiled(losses.values):
            self.objective.verdicts.compiled_inside = True
        self._trains_and_scores &= not self._scores_apart
        self._for_training = self._checked(losses, traces, noted=self._trains_and_scores)
        return self._for_training

    def _pass_of_its_own(self) -> ForwardPass:
        with self._watching(partial=True) as traces:
            losses = self._recorded(self._watched_parameters())
        if not self._as_expected(traces):
            # A layer asked for as «the last one» is not known yet, or is another one now.
            with self._watching(hinted=False) as traces:
                losses = self._recorded(frozenset(self.start.trainable))
        return self._checked(losses, traces)

    def _recorded(self, names: frozenset[str]) -> Losses:
        return self.objective.evaluate(
            lambda: self.objective.leaves(names, self.start),
            self.noisy,
            lambda losses, _: losses,
            self.start,
            first_order=True,
            outlives=True,
        )

    def _watched_parameters(self) -> frozenset[str]:
        """Return the watched layers' parameters: nothing before them is recorded."""
        layers = [layer for layer in self._watched.values() if layer is not None]
        if layers and self.start.has_backward_hooks:  # they expect what a whole pass gives them
            return frozenset(self.start.trainable)
        inside = {id(p) for layer in layers for p in layer.parameters()}
        return frozenset(name for name, p in self.start.trainable.items() if id(p) in inside)

    def _as_expected(self, traces: _Traces) -> bool:
        return all(
            hint is not None and traces[asked].layer is hint
            for asked, hint in self._watched.items()
        )

    def _checked(self, losses: Losses, traces: _Traces, *, noted: bool = True) -> ForwardPass:
        self.later.finite(losses.values, "loss", "noisy")
        if noted:
            self.note(losses.values)
        return ForwardPass(losses.values, losses.counted, traces, losses.made_from)

    def note(self, losses: Tensor) -> None:
        """Compare the losses of a pass with those of others, where there is something to prove."""
        if self.look:
            half = self.modes.autocast and self.precision.autocast
            itemsize = min(p.itemsize for p in self.start.trainable.values())
            self._repeated.note(losses, 2 if half else itemsize)

    def _note_operators(self, losses: Tensor) -> None:
        self.note(losses)
        self.operators = frozenset(node.name() for node in nodes_of(losses))

    @contextmanager
    def _watching(self, *, hinted: bool = True, partial: bool = False) -> Iterator[_Traces]:
        module = self.objective.module
        with ExitStack() as stack:
            yield {
                layer: stack.enter_context(
                    trace_last_layer(module, layer, hint if hinted else None, partial_pass=partial)
                )
                for layer, hint in self._watched.items()
            }


@contextmanager
def _nothing_watched() -> Iterator[_Traces]:
    yield {}


@contextmanager
def _nothing_noticed() -> Iterator[Callable[[], bool]]:
    yield lambda: False
