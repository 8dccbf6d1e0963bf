"""One call per training step: score, normalise, mix, select, and return the weighted loss."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from reweight._check import check_scorers
from reweight._isolation.lock import ONE_AT_A_TIME
from reweight._isolation.objective import Objective
from reweight._step.batches import Forward, Loss
from reweight._step.checkpoint import Checkpoint
from reweight._step.choice import Choice, may_be_timed
from reweight._step.context import ScoringContext
from reweight._step.distributed import refuse_what_cannot_be_scored, warn_if_alone
from reweight._step.explain import explain
from reweight._step.later import Later, NotExpected
from reweight._step.leave_out import LeaveOut
from reweight._step.losses import Granularity, UnitLosses
from reweight._step.modes import ScorePrecision, modes_of
from reweight._step.noisy_batch import NoisyBatch
from reweight._step.options import (
    check_choice,
    check_function,
    check_model,
    forward_of,
)
from reweight._step.ranks import Ranks
from reweight._step.retry import without_nonfinite
from reweight._step.rows import Rows, needs_of_all
from reweight._step.soft_targets import counting, softened
from reweight._step.states import States
from reweight._step.weighing import refuse_weights_of_the_last_step, scores_by_name
from reweight.check_report import CheckReport
from reweight.dynamics import TrainingDynamics
from reweight.errors import NonFiniteError, check_number
from reweight.labels import RememberedLabels
from reweight.scorers import (
    GradientSimilarity,
    LastLayerGradient,
    LossMagnitude,
    Mixture,
    RandomWeights,
    ScorerLike,
    Uniform,
    as_mixture,
)
from reweight.selectors import KeepAll, Rectify, Selector
from reweight.step import ReweightedStep
from reweight.weightings import (
    EqualWeights,
    PerBatch,
    Weighting,
    WeightingLike,
    as_weighting,
    part_of,
)

_SCORERS = (GradientSimilarity, LastLayerGradient, LossMagnitude, RandomWeights, Uniform)

OnEmpty = Literal["skip", "uniform"]
OnNonfinite = Literal["raise", "drop"]
Sync = Literal["local", "global"]


class MetaReweighter:
    """Weigh the samples of each noisy batch, as the trusted batch judges them.

    In a training loop ``loss = loss_fn(model(x), y).mean()`` becomes
    ``step = reweighter((x, y), trusted_batch)``, and ``step.loss.backward()`` follows. By default
    a sample counts as far as its gradient agrees with the trusted one, for each unit of its last
    layer's gradient, and is forgotten after the step. Where a data set has ids
    ``labels=MendedLabels(len(dataset), num_classes)`` or ``weighting=SampleWeights(len(dataset))``
    remembers it; with ``trusted_coefficient=0.1`` that is what to use
    (``docs/when-it-helps.md``). :meth:`paper` is the method of Hussain et al., "Active Deep
    Learning from a Noisy Teacher" (Algorithm 1), whole: the mixture of both scores, rectified at
    1/C.

    The training pass runs through ``model`` as it is given, so that ``DistributedDataParallel``,
    ``torch.compile``, hooks and autocast work as ever; under DDP each rank weighs its own batch.
    Scoring passes leave the model as they found it, run outside autocast, and see the dropout
    masks that the training pass will see.

    Args:
        model: Any ``nn.Module``.
        loss: ``loss(output, target)`` with one value per sample, ``(C,)``, or several,
            ``(C, ...)``. Batches are then pairs ``(input, target)``; an input that is a tuple,
            list or dict is spread over the model's arguments, unless the model takes one (a
            ``PackedSequence``, a list of images). Targets that the loss ignores
            (``ignore_index``) count neither in a mean nor in a share.
        forward: Instead of ``loss``, for batches of any form: ``forward(model, batch)`` that
            returns ``(C,)`` or ``(C, ...)`` losses, a pair of them and of which count, bool, in
            their shape or ``(C,)``, or :class:`SampleLosses`, which can tell logits and labels too.
        scorer: A scorer, a mixture of scorers such as ``0.3 * A + 0.7 * B``, one divided by
            another, ``A / B``, or a function ``(ScoringContext) -> (C,)`` scores. By default
            ``GradientSimilarity() / LastLayerGradient()``.
        weighting: From scores to weights: :class:`PerBatch` (the default) remembers nothing,
            :class:`SampleWeights` sums the scores of each sample over the training,
            :class:`GroupWeights` those of each source, :class:`WeightNet` learns a function of
            the loss, say. They add up: ``A + B``. Or a function ``(WeightingContext) -> (N,)``
            weights, which are divided by their sum.
        selector: A function from weights ``(N,)`` to weights with some set to zero; by default
            all are kept.
        trusted_coefficient: β ≥ 0. Adds ``β · L_v`` to the loss, from the trusted gradient that
            scoring computed anyway (``"unrolled"`` and look-aheads that move the parameters
            cost one more pass).
        granularity: ``"sample"`` averages a loss of several values per sample and weighs
            samples; ``"element"`` weighs every value of the loss map by itself.
        on_empty: When no weight survives selection: ``"skip"`` leaves the loss a differentiable
            zero (the paper), ``"uniform"`` gives every sample 1/C.
        on_nonfinite: ``"raise"`` a :class:`NonFiniteError`, or ``"drop"`` the samples at fault and
            do the step without them.
        sync: Of several ranks under DDP: ``"local"`` weighs each rank's batch by itself,
            ``"global"`` all of them as one batch, by the mean of all trusted losses: what one
            process with the joint batches would do (BatchNorm in train mode apart, whose statistics
            stay each rank's own). The weights of all ranks then sum to 1, the mean of
            ``step.loss`` over the ranks is the loss of the joint batch, and :meth:`score`, too,
            must be called on every rank. What is remembered is the same on every rank either way.
        self_check: Whether the first two steps of a model (in each of its modes) prove, at the
            price of a forward and a backward pass each, that the derivatives add up to those of an
            ordinary backward pass and that no parameter was missed. A way that was fallen back to
            proves it in every step.
        labels: :class:`SoftLabels` or :class:`MendedLabels`, to train on what is believed of each
            label in its place. Weights are then equal, if no ``weighting`` is given.
        label_scores: Whether each step is to tell the score of every sample under every label.
        leave_out: For ``on_nonfinite="drop"`` on batches in which a sample is more than a row
            (graphs, offsets, flat targets, objects), ``leave_out(batch, kept)``: returns the batch
            with only the samples that ``kept``, ``(C,)`` bool on the CPU, marks. Both batches are
            given to it, as copies.
        compile: Whether the trusted gradient and the directional derivative run as compiled graphs
            of the model (``torch.compile``); a string names another backend than ``"inductor"``.
            The training pass stays as it is, and the loss around the model eager. Scores are the
            same but for rounding, and a model of which that cannot be had is refused in the first
            steps: one that does not compile whole, that has hooks, or whose random numbers come
            in another order (dropout inside attention). Each shape of a batch is compiled anew.
        precision: Under autocast (AMP), how scores are taken: ``"full"`` without it, in passes of
            their own; ``"training"`` under it, from the training pass itself, with its fused
            attention in the trusted pass. That costs what AMP training costs, and scores then
            carry its rounding: in bfloat16 about two digits (``python -m benchmarks.modes``).
            Without autocast both are the same.
        timed: Whether ``method="auto"`` may choose among the exact ways by the time they take in
            steps 2 to 9. They differ in rounding: without it two runs of the same seed are alike
            to the bit, as they are under ``torch.use_deterministic_algorithms``.
        dynamics: Learns in each step how the training of each sample goes, and finds the labels
            that look wrong: :class:`TrainingDynamics`. It takes part in :meth:`state_dict`.

    Raises:
        TypeError: If ``model`` is not a module, or ``loss``, ``selector`` or ``leave_out`` cannot
            be called, or ``dynamics`` is none.
        ValueError: If not exactly one of ``loss`` and ``forward`` is given, if the loss reduces
            over the batch, if a setting has no such value, for ``on_nonfinite="drop"`` on a
            distributed model, or if a gradient, or the rows of all ranks, are needed of one that
            FSDP or DeepSpeed has split, or for ``compile=`` without a scorer that takes
            derivatives in forward mode.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from reweight import MetaReweighter
        >>> x = torch.tensor([[1.0], [2.0], [-1.0], [-2.0]])
        >>> y = torch.tensor([1, 0, 0, 0])  # 1 where x > 0, but for the second, which is wrong
        >>> trusted = torch.tensor([[1.0], [-1.0]]), torch.tensor([1, 0])
        >>> model, loss = nn.Linear(1, 2, bias=False), nn.CrossEntropyLoss(reduction="none")
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> reweighter = MetaReweighter(model, loss)
        >>> step = reweighter((x, y), trusted)
        >>> step.loss.backward()
        >>> optimizer.step()
        >>> (step.weights > 0).tolist()
        [True, False, True, True]
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss | None = None,
        *,
        forward: Forward | None = None,
        scorer: ScorerLike | None = None,
        weighting: WeightingLike | None = None,
        selector: Selector | None = None,
        trusted_coefficient: float = 0.0,
        granularity: Granularity = "sample",
        on_empty: OnEmpty = "skip",
        on_nonfinite: OnNonfinite = "raise",
        sync: Sync = "local",
        self_check: bool = True,
        leave_out: LeaveOut | None = None,
        dynamics: TrainingDynamics | None = None,
        labels: RememberedLabels | None = None,
        label_scores: bool = False,
        compile: bool | str = False,  # noqa: A002 - as PyTorch has it
        precision: ScorePrecision = "full",
        timed: bool = True,
    ) -> None:
        check_model(model)
        forward = forward_of(loss, forward)
        for name, value, choices in (
            ("granularity", granularity, Granularity),
            ("on_empty", on_empty, OnEmpty),
            ("on_nonfinite", on_nonfinite, OnNonfinite),
            ("sync", sync, Sync),
            ("precision", precision, ScorePrecision),
        ):
            check_choice(name, value, choices)
        check_number("trusted_coefficient", trusted_coefficient)
        if scorer is None:
            scorer = GradientSimilarity() / LastLayerGradient()
        if selector is None:
            selector = KeepAll()
        check_function(
            "selector", selector, "(weights) -> weights, or an instance such as KeepAll()"
        )
        if leave_out is not None:
            check_function(
                "leave_out", leave_out, "(batch, kept) -> batch, kept a bool tensor (C,)"
            )
        if dynamics is not None and not isinstance(dynamics, TrainingDynamics):
            raise TypeError(f"dynamics must be a TrainingDynamics(len(dataset)); got {dynamics!r}.")
        self.scorer: Mixture = as_mixture(scorer).active()
        self.weighting: Weighting = as_weighting(
            (PerBatch() if labels is None else EqualWeights()) if weighting is None else weighting
        )
        remembers = labels is not None or dynamics is not None
        refuse_what_cannot_be_scored(
            model,
            differentiates=trusted_coefficient > 0 or self.scorer.differentiates,
            methods=[getattr(s, "method", "") for s in self.scorer.scorers if s.differentiates],
            drops=on_nonfinite == "drop",
            together=sync == "global" or self.weighting.learns or remembers,
        )
        if self.weighting.needs_signed and not self.scorer.signed:
            raise ValueError(
                f"{self.weighting!r} sums scores that say by their sign whether a sample helps or "
                f"harms, and {self.scorer!r} has none such. Use GradientSimilarity(), or a "
                f"function that returns signed scores."
            )
        if labels is not None and not isinstance(labels, RememberedLabels):
            raise TypeError(
                f"labels must be SoftLabels(len(dataset), num_classes), got {labels!r}. The labels "
                f"given are in the batches."
            )
        self.dynamics = dynamics
        remembering = [p for p in (self.weighting, labels, dynamics) if p is not None]
        self._needs = needs_of_all(remembering)
        self._learns = self.weighting.learns or len(remembering) > 1
        self.label_scores: bool = label_scores or labels is not None
        self._wants_label_scores = self.label_scores or any(
            getattr(part, "needs_label_scores", False) for part in remembering
        )
        knowing = any(scorer.knows_label_scores for scorer in self.scorer.scorers)
        if self.label_scores and not knowing:
            raise ValueError(
                f"{'labels' if labels is not None else 'label_scores'}= needs the score under "
                f"every label, and {self.scorer!r} gives none. Use GradientSimilarity(), by method "
                f'"auto", "forward" or "double_backward".'
            )
        self.labels = labels
        self.selector = selector
        self.sync = sync
        self.trusted_coefficient = trusted_coefficient
        self.on_empty = on_empty
        self.on_nonfinite = on_nonfinite
        self.leave_out = leave_out
        self._losses = UnitLosses(forward, granularity)
        self._objective = Objective(model, self._losses, forward if loss is None else loss)
        self._objective.self_check = self_check
        methods = [m for s in self.scorer.scorers if (m := getattr(s, "method", ""))]
        self._modes = modes_of(self._objective.module, compile, precision, methods)
        self._choice = Choice(self._objective.verdicts)
        self._timed = timed
        self._chooses = timed and "auto" in methods and self._modes.compiled is None
        self._has_trained = False
        self._refused: Tensor | None = None

    @classmethod
    def paper(cls, model: nn.Module, loss: Loss | None = None, **options: Any) -> MetaReweighter:
        """Return the method of Hussain et al. exactly, whatever the defaults are.

        Gradient similarity and last-layer gradient, mixed at λ = 0.5 (Eq. 8), rectified at 1/C,
        nothing trained on the trusted batch, a step without a kept sample skipped.

        Args:
            model: As for the class.
            loss: As for the class.
            options: ``forward``, ``granularity``, ``on_nonfinite`` and ``leave_out``, as for the
                class.

        Raises:
            TypeError: If an option would change the method.

        Example:
            >>> from torch import nn
            >>> from reweight import MetaReweighter
            >>> paper = MetaReweighter.paper(nn.Linear(4, 2), nn.CrossEntropyLoss(reduction="none"))
            >>> paper.scorer.names(), paper.selector
            (['gradient_similarity', 'last_layer_gradient'], Rectify())
        """
        own = {
            "scorer",
            "weighting",
            "selector",
            "trusted_coefficient",
            "on_empty",
        } & options.keys()
        if own:
            raise TypeError(
                f"MetaReweighter.paper() is a method as published; {', '.join(sorted(own))} would "
                f"change it. Use MetaReweighter() itself."
            )
        return cls(
            model,
            loss,
            scorer=0.5 * GradientSimilarity() + 0.5 * LastLayerGradient(),
            weighting=PerBatch(),
            selector=Rectify(),
            trusted_coefficient=0.0,
            on_empty="skip",
            **options,
        )

    @property
    def model(self) -> nn.Module:
        """The model as it was given."""
        return self._objective.model

    @property
    def granularity(self) -> Granularity:
        """Whether samples or elements of the loss map are weighed."""
        return self._losses.granularity

    def __repr__(self) -> str:
        return (
            f"MetaReweighter({type(self.model).__name__}, scorer={self.scorer!r}, "
            f"weighting={self.weighting!r}, selector={self.selector!r}, "
            f"trusted_coefficient={self.trusted_coefficient:g}, granularity={self.granularity!r})"
        )

    def __call__(
        self, noisy: Any, trusted: Any = None, *, ids: Any = None, groups: Any = None
    ) -> ReweightedStep:
        """Weigh the noisy batch and return the step to back-propagate.

        Args:
            noisy: The C samples to be weighed and trained on.
            trusted: The samples that judge them; may be ``None`` where no scorer asks for them.
            ids: Where something is remembered of each sample: the row of the data set that each
                comes from, integers ``(C,)``, or one an element in the losses' shape. On the CPU,
                as a loader leaves them, they cost no wait for the device.
            groups: The number of the source of each, likewise.

        Returns:
            The step; call ``step.loss.backward()``, and skip the optimiser if ``step.kept == 0``.

        Raises:
            RuntimeError: If gradients are disabled, or under ``torch.inference_mode``; if scores
                under every label are needed and not known.
            ValueError: If the loss returns a scalar, a scorer or selector returns another shape
                or negative weights, or the trusted batch, ids or groups are missing or no such.
            TypeError: If ids or groups are no integers.
            NonFiniteError: If a loss or score is not finite (``on_nonfinite="raise"``).
            NotCompilableError: If the model does not go as compiled graphs (``compile=``).
            OtherRankError: If another rank has raised an error in this step.
        """
        if not torch.is_grad_enabled() and not torch.is_inference_mode_enabled():
            raise RuntimeError(
                "a training step needs gradients, but they are disabled here. Call the reweighter "
                "outside torch.no_grad(), or use reweighter.score() for weights alone."
            )
        if not self._has_trained:
            self._has_trained = True
            warn_if_alone(self.model)
        return self._step(noisy, trusted, {"ids": ids, "groups": groups}, training=True)

    def score(
        self, noisy: Any, trusted: Any = None, *, ids: Any = None, groups: Any = None
    ) -> ReweightedStep:
        """Weigh the noisy batch without a training pass.

        Model, gradients, buffers, random number streams and all that is remembered are bit for
        bit as before. One rank may look by itself, unless ``sync="global"``.

        Args:
            noisy: The C samples to be weighed.
            trusted: The samples that judge them.
            ids: As in a training step.
            groups: The same.

        Returns:
            The step, its loss without a graph.

        Raises:
            RuntimeError: Under ``torch.inference_mode``.
            ValueError, NonFiniteError: As in a training step.
        """
        return self._step(noisy, trusted, {"ids": ids, "groups": groups}, training=False)

    def check(self, noisy: Any, trusted: Any = None) -> CheckReport:
        """Compare every scorer with plain backward passes, on this very model and data.

        C + 1 ordinary backward passes through the model's own parameters, outside autocast, are
        the reference; every scorer is then called as in a training step and as in :meth:`score`.
        Model, buffers, random number streams and this reweighter are left as found. Print the
        report before a long training run; a batch of 8 to 32 samples is enough.

        Args:
            noisy: The C samples to be weighed.
            trusted: The samples that judge them.

        Returns:
            The report. It tells per scorer the agreement, which path ran, how many passes it took
            and why it was not a cheaper one; and what the model shares, freezes, hooks or caches.

        Raises:
            RuntimeError: Under ``torch.inference_mode``.
        """
        if torch.is_inference_mode_enabled():
            raise RuntimeError("check() takes derivatives: call it outside torch.inference_mode().")
        with ONE_AT_A_TIME:
            before = copy.deepcopy(self.state_dict())
            scorers = dict(zip(self.scorer.names(), self.scorer.scorers, strict=True))
            try:
                return check_scorers(
                    self._objective, self._losses, scorers, noisy, trusted, self._modes
                )
            finally:
                self._load(before)

    def explain(self) -> str:
        """Return in words how scores are taken, and why so; nothing is run.

        Which way ``method="auto"`` takes and the medians that were measured for each, what was
        left out and why, and what follows where a way does not go.
        """
        self._choice.collect()
        methods = [m for s in self.scorer.scorers if (m := getattr(s, "method", ""))]
        return explain(
            self._objective.verdicts, methods, self._modes.sentences(), timed=self._timed
        )

    def state_dict(self) -> dict[str, Any]:
        """Return what a later step depends on, besides model, optimiser and random streams.

        That is what the scorers, the weighting and the selector keep, such as what is remembered
        of each sample, a held trusted gradient or the stream of random weights, and what has been
        found out about the model. One of your own takes part if it has ``state_dict()`` and
        ``load_state_dict(state)``. The
        settings are not in it: build the reweighter as before, then load. With the model's, the
        optimiser's and PyTorch's random state restored too, training goes on bit for bit as if
        it had never stopped.

        ``copy.deepcopy`` and ``pickle`` take this state along, with a copy of the model (and of a
        live look-ahead optimiser); a scorer that is copied by itself starts afresh.

        Returns:
            Plain containers, numbers and tensors, which ``torch.save`` writes and
            ``torch.load(weights_only=True)`` reads: ``version``, ``objective``, ``scorers`` (by
            name) and, where they keep a state, ``weighting``, ``labels``, ``selector`` and
            ``dynamics``.
        """
        self._choice.collect()
        return self._checkpoint().save()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned; tensors go to the parameters' devices.

        Raises:
            TypeError: If ``state`` is no dictionary.
            ValueError: If it is of another version, of other scorers or of another model. This
                reweighter is then as it was before.
        """
        self._load(state)
        self._refused = None  # of a step that the state knows nothing of

    def _load(self, state: Mapping[str, Any]) -> None:
        self._choice.forget()
        self._checkpoint().load(state, self._check_fit)

    def _checkpoint(self) -> Checkpoint:
        others = {
            "selector": self.selector,
            "weighting": part_of(self.weighting),
            "dynamics": self.dynamics,
            "labels": self.labels,
        }
        return Checkpoint(self._objective, self.scorer.parts(), others)

    def _check_fit(self) -> None:
        for scorer in self.scorer.scorers:
            scorer.bind(self._objective)

    def __getstate__(self) -> dict[str, Any]:
        """Return attributes and :meth:`state_dict`, for copies and pickles."""
        return {"attributes": self.__dict__, "state": self.state_dict()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state["attributes"])
        self._load(state["state"])

    def _step(
        self, noisy: Any, trusted: Any, given: Mapping[str, Any], *, training: bool
    ) -> ReweightedStep:
        if torch.is_inference_mode_enabled():
            raise RuntimeError(
                "scores are derivatives, and torch.inference_mode() rules them out. Call the "
                "reweighter outside it; score() also works under torch.no_grad()."
            )
        ranks = Ranks.of(
            self.model,
            training=training,
            together=self.sync == "global",
            learns=self._learns,
        )
        if self.on_nonfinite == "raise":
            with ONE_AT_A_TIME, ranks.told_of_errors():
                # Trusted batches, where they judge together, meet before anything is said of rows.
                take = Rows.of if ranks.group is None else Rows.or_wrong
                rows = take(given, self._needs)
                return self._attempt(noisy, trusted, rows, ranks, training=training)
        rows = Rows.of(given, self._needs)

        def attempt(noisy: Any, trusted: Any, kept: Tensor | None) -> ReweightedStep:
            return self._attempt(noisy, trusted, rows.kept(kept), ranks, training=training)

        with ONE_AT_A_TIME:
            # What is remembered is learnt last, when no sample can be at fault any more.
            step = without_nonfinite(
                attempt,
                self._objective,
                self.scorer.names(),
                noisy,
                trusted,
                stateful=[*self.scorer.scorers, self.selector],
                leave_out=self.leave_out,
            )
        return step if training else replace(step, loss=step.loss.detach())

    def _attempt(
        self, noisy: Any, trusted: Any, rows: Rows, ranks: Ranks, *, training: bool
    ) -> ReweightedStep:
        own = all(type(scorer) in _SCORERS for scorer in self.scorer.scorers)
        # What is not the library's own may do anything with numbers that are not finite.
        later = Later(at_once=not own or ranks.group is not None)
        self._losses.later = later
        verdicts, before = self._objective.verdicts, None
        if not later.at_once and not self._losses.expects_ignored:
            before = States(self.scorer.scorers, copied=False), dict(verdicts.checked)
        try:
            return self._computed(noisy, trusted, rows, ranks, later, training=training)
        except NotExpected as unexpected:
            # As if it had been expected: nothing was drawn, used or proved.
            assert before is not None
            states, verdicts.checked = before
            states.restore()
            self._losses.later = None
            again = Later(at_once=True)
            return self._computed(unexpected.noisy, trusted, rows, ranks, again, training=training)
        finally:
            self._losses.later = None

    def _computed(
        self,
        noisy: Any,
        trusted: Any,
        rows: Rows,
        ranks: Ranks,
        later: Later,
        *,
        training: bool,
    ) -> ReweightedStep:
        refused, self._refused = self._refused, None
        if refused is not None:
            later.ask(refused, refuse_weights_of_the_last_step)
        beta = self.trusted_coefficient
        together = self.sync == "global"
        context = ScoringContext(
            self._objective,
            noisy,
            trusted,
            granularity=self.granularity,
            training=training,
            full_trusted_gradient=beta > 0,
            ranks=ranks if together else None,
            label_scores=self._wants_label_scores,
            later=later,
            modes=self._modes,
        )
        turn = None
        if training and self._chooses and may_be_timed(context.passes.start.devices):
            turn = context.derivatives.turn = self._choice.turn(context.passes.start.devices)
        with context.passes.precision.for_scores():
            term = context.trusted_term() if beta > 0 else None
            if term is not None:
                context.passes.also_used = [context.trainable()[name] for name in term.gradients]
            scores = scores_by_name(self.scorer, context)
        if self.label_scores and context.label_scores is None:
            raise RuntimeError(
                f"label_scores= and labels= need the scores under every label, and these are not "
                f"known: {context.no_label_scores}"
            )
        trained = context.passes.for_training()
        try:
            later.read()
        except (NonFiniteError, NotExpected) as error:
            # As if it had been found before the training pass.
            if isinstance(error, NotExpected):
                error.noisy = context.passes.noisy
            if isinstance(error, NotExpected) or error.batch == "trusted":
                context.passes.start.restore()
            raise
        losses, counted = trained.losses, trained.counted
        batch = NoisyBatch(
            losses.detach(),
            counted,
            scores,
            rows,
            trained.made_from,
            mixture=self.scorer,
            ranks=ranks,
            training=training,
            label_scores=context.label_scores,
        )
        weights = batch.weigh(
            self.weighting,
            self.selector,
            together=together,
            uniform=self.on_empty == "uniform",
            remembers=self._learns,
            dynamics=self.dynamics,
            at_once=later.at_once or not training,
        )
        self._refused = weights.refused
        if self.labels is not None:
            self.labels.check(batch.labelled)
            if training:
                self.labels.learn(batch.labelled_of_all())
            q = self.labels.believed(batch.labelled.ids, batch.labelled.labels)
            losses, mass = softened(trained, q)
            own = ranks if together else Ranks()
            weights = replace(weights, values=counting(weights.values, mass, own))
        loss = context.passes.weighted(losses, weights.values)
        if weights.of_all is not None:
            loss = loss * ranks.count  # DistributedDataParallel divides by it
        if term is not None:
            loss = loss + beta * term.of(context.trainable())
        if turn is not None:
            turn.ends(loss)
        return ReweightedStep(
            loss=loss if training else loss.detach(),
            weights=weights.values,
            losses=losses.detach(),
            scores=scores,
            trusted_loss=context.trusted_loss if term is None else term.loss,
            empty=weights.empty,
            counted=counted,
            kept_by_all=weights.kept,
            weights_of_all=weights.of_all,
            label_scores=batch.label_scores,
        )
