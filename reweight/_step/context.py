"""What a scorer may ask about the batch it scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from reweight._derivative.every_label import NoLabelScores
from reweight._derivative.gradient_norms import gradient_norms
from reweight._derivative.layer_products import NotByLayers
from reweight._dtypes import widest
from reweight._isolation.objective import Objective, Parameters
from reweight._step.derivatives import AnyMethod, Derivatives
from reweight._step.every_label import check_labels, counted_labels
from reweight._step.later import Later
from reweight._step.losses import Granularity
from reweight._step.modes import DEFAULT, Modes
from reweight._step.noisy_passes import NoisyPasses
from reweight._step.ranks import Ranks
from reweight._trusted.gradient import TrustedGradient, trusted_gradient
from reweight._trusted.joint import JointGradient, joint_gradient
from reweight._trusted.loss_term import TrustedTerm
from reweight.errors import OtherRankError

_Trusted = tuple[TrustedGradient, JointGradient | None]
"""What this rank's trusted batch says, and what all say where they judge together."""


class ScoringContext:
    """One noisy batch, the trusted batch it is judged by, and the model as it stands.

    Attributes:
        model: The model, without ``DistributedDataParallel`` or ``torch.compile`` around it.
        trusted: The trusted batch, or ``None``.
        objective: The losses as a pure function of the model's parameters.
        granularity: Whether samples or elements of the loss map are weighed.
        passes: The forward passes of the noisy batch.
        derivatives: Takes directional derivatives of it.
        training: Whether the step trains, or only scores.
        modes: How scoring passes are computed.
        full_trusted_gradient: Whether the step needs ∇L_v by every trainable parameter anyway.
        ranks: Whose trusted batches judge together; one alone: by this one's.
        trusted_loss: Mean trusted loss, once something computed it: at θ where that was asked for,
            else at the look-ahead.
        label_scores: The scores of every sample under every label, ``(*labels.shape, K)``, once a
            scorer that was asked for them has given them.
        no_label_scores: Why there are none.
        later: What is asked of the device once the step is computed.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from reweight import MetaReweighter
        >>> x = torch.tensor([[1.0], [2.0], [-1.0], [-2.0]])
        >>> y = torch.tensor([1, 0, 0, 0])  # 1 where x > 0, but for the second, which is wrong
        >>> trusted = torch.tensor([[1.0], [-1.0]]), torch.tensor([1, 0])
        >>> model, loss = nn.Linear(1, 2, bias=False), nn.CrossEntropyLoss(reduction="none")
        >>> def agreement(context):  # GradientSimilarity(), written out
        ...     return context.directional_derivative(context.trusted_gradient())
        >>> step = MetaReweighter(model, loss, scorer=agreement)((x, y), trusted)
        >>> (step.weights > 0).tolist()
        [True, False, True, True]
    """

    def __init__(
        self,
        objective: Objective,
        noisy: Any,
        trusted: Any,
        *,
        granularity: Granularity,
        training: bool,
        full_trusted_gradient: bool = False,
        ranks: Ranks | None = None,
        label_scores: bool = False,
        later: Later | None = None,
        modes: Modes = DEFAULT,
    ) -> None:
        self.objective = objective
        self.granularity = granularity
        self.model: nn.Module = objective.module
        self.trusted = trusted
        self.trusted_loss: Tensor | None = None
        self.passes: NoisyPasses = NoisyPasses(
            objective, noisy, training=training, later=later, modes=modes
        )
        self.modes = modes
        self.later: Later = self.passes.later
        self._again: list[tuple[Tensor, Callable[[], Tensor]]] = []
        self.derivatives: Derivatives = Derivatives(objective, self.passes)
        self.passes.wants_labels = label_scores
        self.label_scores: Tensor | None = None
        self.no_label_scores: str = "no scorer gives them: use GradientSimilarity()."
        self.training = training
        self.full_trusted_gradient = full_trusted_gradient
        self.ranks: Ranks = ranks or Ranks()
        self._gradients: dict[frozenset[str], _Trusted] = {}

    @property
    def noisy(self) -> Any:
        """The noisy batch, as it came."""
        return self.passes.noisy

    @property
    def losses(self) -> Tensor:
        """Unweighted losses of the noisy batch, ``(C,)`` or the loss map, detached."""
        return self.passes.for_scores().losses.detach()

    @property
    def counted(self) -> Tensor | None:
        """Which losses count, bool, in their shape; ``None``: all. Ignored targets do not."""
        return self.passes.for_scores().counted

    def again_if(self, wrong: Tensor, again: Callable[[], Tensor]) -> None:
        """Have the scorer that is being asked asked again, otherwise, should it be ``wrong``.

        Args:
            wrong: A scalar, true or false, that is read once the step is computed.
            again: Returns the scores in another way.
        """
        self._again.append((wrong, again))

    def taken_doubts(self) -> list[tuple[Tensor, Callable[[], Tensor]]]:
        """Return, once, what :meth:`again_if` was told since it was last asked."""
        found, self._again = self._again, []
        return found

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return the trainable parameters by name."""
        return dict(self.passes.start.trainable)

    def require_trusted(self) -> None:
        """Raise a ``ValueError`` that says how to give one, if there is no trusted batch."""
        if self.trusted is None:
            raise ValueError(
                "this scorer (or trusted_coefficient) judges by a trusted batch: call "
                "reweighter(noisy, trusted)."
            )

    def trusted_gradient(
        self, names: Iterable[str] | None = None, at: Parameters | None = None
    ) -> Parameters:
        """Return ∇L_v, L_v the mean trusted loss, as hooks on the parameters leave it.

        Under ``sync="global"`` it is that of all ranks' trusted batches, and each rank must ask.

        Args:
            names: The parameters wanted; ``None``: all trainable ones. The backward pass stops
                at the earliest of them.
            at: Where to take the gradient, if not at θ: values by parameter name.

        Returns:
            A dense tensor per parameter name, parameters that L_v does not depend on left out.

        Raises:
            ValueError: If no trusted batch was given, or L_v depends on parameters unknown.
            NonFiniteError: If a trusted loss is not finite.
        """
        wanted = list(self.trainable()) if names is None else list(names)
        own, joint = self._at_present(wanted) if at is None else self._take(wanted, at)
        found = own.compared if joint is None else joint.gradient
        return {name: found[name] for name in wanted if name in found}

    def trusted_term(self) -> TrustedTerm:
        """Return L_v as a term of the loss, its gradient as a backward pass gives it.

        Of several ranks each brings its own part: their mean, which is what training takes, is
        the term of all trusted losses.
        """
        own, joint = self._at_present(list(self.trainable()))
        if joint is None:
            return TrustedTerm(own.loss, own.plain)
        return TrustedTerm(joint.loss, own.plain, own.loss, joint.share * self.ranks.count)

    def joint_trusted_gradient(
        self, loss: Tensor, number: Tensor | int, gradient: Parameters
    ) -> tuple[Tensor, Parameters]:
        """Return L_v and its gradient over all ranks, from what they are on this one.

        Args:
            loss: The mean trusted loss.
            number: Of how many losses.
            gradient: By parameter name.
        """
        if self.ranks.group is None:
            return loss, gradient
        joint = self._joint(list(gradient), (loss, number, gradient))
        return joint.loss, joint.gradient

    def _at_present(self, wanted: list[str]) -> _Trusted:
        computed = list(self.trainable()) if self.full_trusted_gradient else wanted
        key = frozenset(computed)
        if key not in self._gradients:
            self._gradients[key] = self._take(computed, None)
        return self._gradients[key]

    def _take(self, names: list[str], at: Parameters | None) -> _Trusted:
        with self.told_of_errors(names), self.derivatives.left_out():
            self.require_trusted()
            own = trusted_gradient(
                self.objective,
                self.trusted,
                names,
                self.passes.start,
                at,
                look=self.passes.look,
                finite=self.later.finite,
                compiled=self.modes.compiled,
            )
        joint = None
        if self.ranks.group is not None:
            joint = self._joint(names, (own.loss, own.number, own.compared))
        if at is None or self.trusted_loss is None:
            self.trusted_loss = own.loss if joint is None else joint.loss
        return own, joint

    @contextmanager
    def told_of_errors(self, names: list[str]) -> Iterator[None]:
        """Let the other ranks, where they wait for this one's trusted gradient, raise errors too.

        Args:
            names: The parameters that the gradient is of.
        """
        try:
            yield
        except OtherRankError:
            raise
        except Exception:
            if self.ranks.group is not None:
                self.ranks.has_told()
                self._joint(names, None)
            raise

    def _joint(
        self, names: list[str], own: tuple[Tensor, Tensor | int, Parameters] | None
    ) -> JointGradient:
        trainable = self.trainable()
        parameters = {name: trainable[name] for name in names}
        found = joint_gradient(self.ranks.sum, parameters, self.ranks.device, own)
        if own is not None:
            self.ranks.refuse_failed(found.failed)
        return found

    def directional_derivative(self, direction: Parameters, method: AnyMethod = "auto") -> Tensor:
        """Return ⟨∇L_i(θ), v⟩ for every loss of the noisy batch, detached.

        Args:
            direction: v by parameter name; a missing parameter counts as zero.
            method: ``"auto"``, an exact way (``"forward"``, ``"double_backward"``,
                ``"per_sample"``), or ``"finite_difference"``.
        """
        return self.derivatives.take(direction, method)

    def gradient_norms(self, names: list[str], say: Callable[[int, str], None]) -> Tensor:
        """Return ‖∇L_i(θ)‖ over some parameters, for every loss of the noisy batch, detached.

        Args:
            names: The parameters' names.
            say: Is told where it takes a backward pass a loss, of how many, and why.
        """
        passes = self.passes
        if passes.products is not None:
            try:
                return passes.products.norms(names)
            except NotByLayers:
                pass
        prove = self.derivatives.is_to_prove_itself("norms", ())
        return gradient_norms(self.objective, passes.noisy, names, passes.start, say, prove=prove)

    def score_every_label(self, derivative: Tensor, factor: float | Tensor) -> None:
        """Keep the scores under every label, if they were asked for and are not there yet.

        Args:
            derivative: What :meth:`directional_derivative` returned last.
            factor: What turns it into scores.
        """
        if not self.passes.wants_labels or self.label_scores is not None:
            return
        try:
            source, values = self.passes.under_every_label()
            counted = self.counted
            if self.derivatives.is_to_prove_itself("labels", ()):
                check_labels(source, values, derivative, counted)
        except NoLabelScores as reason:
            self.no_label_scores = str(reason)
        else:
            values = counted_labels(values, counted)
            self.label_scores = values.to(widest(values.device)) * factor
