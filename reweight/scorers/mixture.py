"""Arithmetic on scorers: ``0.5 * A + 0.5 * B`` mixes weights (Eq. 8), ``A / B`` divides scores."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, Union

import torch
from torch import Tensor
from typing_extensions import override

from reweight._isolation.objective import Objective
from reweight._step.context import ScoringContext
from reweight._step.plain_gradients import PlainGradients
from reweight.normalize import normalize, per_unit_of, standardise

ScorerLike: TypeAlias = Union["Scorer", "Mixture", Callable[[ScoringContext], Tensor]]


def _snake_case(name: str) -> str:
    """Return a class name in the style of a variable's."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


class _Arithmetic:
    """Sums and multiples of scorers are mixtures, and one scorer may be divided by another."""

    def __add__(self, other: ScorerLike) -> Mixture:
        if not callable(other) and not isinstance(other, Mixture):
            return NotImplemented
        return Mixture([*as_mixture(self).terms, *as_mixture(other).terms])

    def __radd__(self, other: Any) -> Mixture:
        if isinstance(other, int) and other == 0:  # sum() starts from it
            return as_mixture(self)
        return as_mixture(other) + self if callable(other) else NotImplemented

    def __mul__(self, factor: float) -> Mixture:
        if not isinstance(factor, int | float):
            return NotImplemented
        return Mixture(
            [replace(t, coefficient=factor * t.coefficient) for t in as_mixture(self).terms]
        )

    __rmul__ = __mul__

    def __truediv__(self, other: ScorerLike) -> Mixture:
        if not callable(other) and not isinstance(other, Mixture):
            return NotImplemented
        above, below = as_mixture(self).terms, as_mixture(other).terms
        if len(above) > 1 or len(below) > 1 or above[0].divisor or below[0].divisor:
            raise ValueError(
                "one scorer can be divided by one other. A sum of several has no score of its "
                "own, for its parts are normalised before they are mixed: divide them one by one."
            )
        return Mixture([replace(above[0], divisor=below[0].scorer)])


class Scorer(_Arithmetic):
    """Base of the library's scorers, and optional base of a user's own: it adds arithmetic.

    Attributes:
        name: Under which a step reports the scores.
        before_training_pass: Whether it is called before the training pass, so that its own
            passes and the training graph are not in memory together.
        differentiates: Whether it is known to take gradients, so that it can be refused at once
            for a model that gives none.
        signed: Whether a score says, by its sign, if the sample helps or harms. Only such scores
            can be summed over a training.
        knows_label_scores: Whether it can give the score under every label.

    Example:
        >>> from reweight import GradientSimilarity, Scorer
        >>> class Confidence(Scorer):
        ...     signed = False
        ...
        ...     def __call__(self, context):
        ...         return context.losses.neg().exp()
        >>> (0.7 * GradientSimilarity() + 0.3 * Confidence()).names()
        ['gradient_similarity', 'confidence']
    """

    name: str = ""
    signed: bool = True
    before_training_pass: bool = False
    differentiates: bool = False
    knows_label_scores: bool = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "name" not in cls.__dict__:
            cls.name = _snake_case(cls.__name__)

    def __call__(self, context: ScoringContext) -> Tensor:
        """Return one score per sample, ``(C,)``, or per element of the loss map."""
        raise NotImplementedError

    def prepare(self, context: ScoringContext) -> None:
        """Ask for what the scorer needs, before any pass of this step is made."""

    def reference(
        self, context: ScoringContext, plain: PlainGradients
    ) -> tuple[Tensor | None, str]:
        """Return what the scores should be by plain backward passes, and a note on that.

        For :meth:`MetaReweighter.check <reweight.MetaReweighter.check>`, after the scorer was
        called.

        Args:
            context: The batch that was scored.
            plain: Every sample's gradient and the trusted one, by plain backward passes.

        Returns:
            Scores in the losses' shape, ``None`` where there is nothing to compare with; the note
            may be empty.
        """
        del context, plain
        return None, ""

    def bind(self, objective: Objective) -> None:
        """Fit a state that was just loaded to the model and the losses that it is for.

        Raises:
            ValueError: If it is of another model.
        """


class _Function(Scorer):
    """A plain function, or any callable, as a scorer."""

    def __init__(self, function: Callable[[ScoringContext], Tensor]) -> None:
        self._function = function
        name = getattr(function, "name", None) or getattr(function, "__name__", None)
        self.name = name if isinstance(name, str) else _snake_case(type(function).__name__)
        self.before_training_pass = bool(getattr(function, "before_training_pass", False))
        self.signed = bool(getattr(function, "signed", True))

    @override
    def __repr__(self) -> str:
        return self.name

    @override
    def __call__(self, context: ScoringContext) -> Tensor:
        return self._function(context)

    @property
    def function(self) -> Callable[[ScoringContext], Tensor]:
        """The callable as it was given."""
        return self._function

    @override
    def prepare(self, context: ScoringContext) -> None:
        prepare = getattr(self._function, "prepare", None)
        if prepare is not None:
            prepare(context)

    @override
    def reference(
        self, context: ScoringContext, plain: PlainGradients
    ) -> tuple[Tensor | None, str]:
        own = getattr(self._function, "reference", None)
        return (None, "") if own is None else own(context, plain)


@dataclass(frozen=True)
class Term:
    """One part of a mixture: a scorer, or one divided by another.

    Attributes:
        coefficient: Its share, relative to the other terms'.
        scorer: What scores.
        divisor: What its scores are divided by, if anything: a scorer whose scores are not
            negative.
    """

    coefficient: float
    scorer: Scorer
    divisor: Scorer | None = None

    def __str__(self) -> str:
        divided = "" if self.divisor is None else f" / {self.divisor!r}"
        times = "" if self.coefficient == 1 else f"{self.coefficient:g} * "
        return f"{times}{self.scorer!r}{divided}"


class Mixture(_Arithmetic):
    """Scorers and their shares: ``Σ c_k g(scores_k) / Σ c_k`` (Eq. 8, with any number of parts).

    A part may be a quotient, ``A / B``: the scores of A for each unit of B, to which a thousandth
    of B's root mean square is added. ``GradientSimilarity() / LastLayerGradient()`` says how well a
    sample agrees with the trusted ones, whatever its size: gradients are larger for samples that
    are not learnt yet, wrong labels among them.

    Args:
        terms: Coefficients are relative: they are divided by their sum, once and at the end, so
            that ``A + B`` is ``0.5 * A + 0.5 * B`` and ``A + B + C`` a third of each, however it
            is bracketed. Terms of 0 are left out.

    Raises:
        ValueError: If a coefficient is negative or not finite.

    Example:
        >>> from reweight import GradientSimilarity, LastLayerGradient, LossMagnitude
        >>> mixture = GradientSimilarity() / LastLayerGradient() + LossMagnitude()
        >>> mixture.names()
        ['gradient_similarity', 'last_layer_gradient', 'loss_magnitude']
    """

    def __init__(self, terms: Sequence[Term]) -> None:
        for term in terms:
            if not 0 <= term.coefficient < float("inf"):
                raise ValueError(
                    f"the coefficient of {term.scorer.name} must be a finite number >= 0, got "
                    f"{term.coefficient!r}: weights are shares and cannot be negative."
                )
        self.terms: tuple[Term, ...] = tuple(terms)

    def active(self) -> Mixture:
        """Return the mixture of the terms that count.

        Raises:
            ValueError: If all coefficients are 0.
        """
        terms = [term for term in self.terms if term.coefficient > 0]
        if not terms:
            raise ValueError("the coefficients of a mixture of scorers must not all be zero.")
        return Mixture(terms)

    @property
    def scorers(self) -> list[Scorer]:
        """The scorers, each once, in the order of the terms."""
        found = [scorer for t in self.terms for scorer in (t.scorer, t.divisor) if scorer]
        return list({id(scorer): scorer for scorer in found}.values())

    @property
    def differentiates(self) -> bool:
        """Whether a scorer is known to take gradients."""
        return any(scorer.differentiates for scorer in self.scorers)

    @property
    def signed(self) -> bool:
        """Whether a term's scores say by their sign if a sample helps or harms."""
        return any(term.scorer.signed for term in self.terms)

    def mix(self, scores: Sequence[Tensor]) -> Tensor:
        """Return the mixed weights of ``scores``, one tensor a scorer, all of one shape.

        Each part is normalised before it is mixed. A part with no positive score contributes
        nothing, and its share is not given to the others (as Eq. 8 has it).
        """
        total = sum(term.coefficient for term in self.terms)
        parts = [
            (term.coefficient / total) * normalize(values)
            for term, values in zip(self.terms, self._values(scores), strict=True)
        ]
        return torch.stack(parts).sum(dim=0) if len(parts) > 1 else parts[0]

    def standardise(self, scores: Sequence[Tensor]) -> Tensor:
        """Return the standardised score, ``(N,)``: z = s / rms(s), clipped to ±3.

        It is not centred, for the sign means something; a step in which all scores are zero says
        nothing. Of several signed terms the z are averaged by their coefficients; terms that have
        no sign are left out.
        """
        signed = [
            (term.coefficient, standardise(values))
            for term, values in zip(self.terms, self._values(scores), strict=True)
            if term.scorer.signed
        ]
        total = sum(coefficient for coefficient, _ in signed)
        return torch.stack([coefficient / total * z for coefficient, z in signed]).sum(dim=0)

    def _values(self, scores: Sequence[Tensor]) -> list[Tensor]:
        by_scorer = {id(s): values for s, values in zip(self.scorers, scores, strict=True)}
        return [
            by_scorer[id(term.scorer)]
            if term.divisor is None
            else per_unit_of(by_scorer[id(term.scorer)], by_scorer[id(term.divisor)])
            for term in self.terms
        ]

    def names(self) -> list[str]:
        """Return a name per scorer, numbered where two would be the same."""
        names: list[str] = []
        for scorer in self.scorers:
            name, number = scorer.name, 2
            while name in names:
                name, number = f"{scorer.name}_{number}", number + 1
            names.append(name)
        return names

    def parts(self) -> dict[str, object]:
        """Return what computes the scores, by :meth:`names`: scorers, and callables as given."""
        return {
            name: scorer.function if isinstance(scorer, _Function) else scorer
            for name, scorer in zip(self.names(), self.scorers, strict=True)
        }

    def __repr__(self) -> str:
        return " + ".join(map(str, self.terms))


def as_scorer(function: Callable[[ScoringContext], Tensor]) -> Scorer:
    """Give a plain function the arithmetic of a scorer.

    Args:
        function: A callable that takes a :class:`~reweight.ScoringContext` and returns ``(C,)``
            scores. ``0.5 * as_scorer(function) + 0.5 * other`` is then a mixture.

    Raises:
        TypeError: If it is not callable.

    Example:
        >>> from reweight import GradientSimilarity, as_scorer
        >>> def confidence(context):
        ...     return context.losses.neg().exp()
        >>> (GradientSimilarity() + as_scorer(confidence)).names()
        ['gradient_similarity', 'confidence']
    """
    if isinstance(function, Scorer):
        return function
    if not callable(function) or isinstance(function, type):
        raise TypeError(
            f"a scorer must be a callable (context) -> scores, got {function!r}"
            + ("; did you forget to call the class?" if isinstance(function, type) else ".")
        )
    return _Function(function)


def as_mixture(scorer: Any) -> Mixture:
    """Return ``scorer`` as a mixture, of one term where it is a single scorer.

    Example:
        >>> from reweight import Uniform
        >>> from reweight.scorers import as_mixture
        >>> as_mixture(Uniform()).names()
        ['uniform']
    """
    return scorer if isinstance(scorer, Mixture) else Mixture([Term(1.0, as_scorer(scorer))])
