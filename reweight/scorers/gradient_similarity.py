"""Trustworthiness: agreement of a sample's gradient with the trusted batch's (Eq. 3–5)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from typing_extensions import override

from reweight._derivative.identity import does_not_add_up
from reweight._derivative.unrolled import unrolled_scores
from reweight._derivative.ways import missing_derivatives_named
from reweight._dtypes import widest
from reweight._isolation.objective import Objective, Parameters
from reweight._isolation.wrappers import refuse_spread, whole
from reweight._step.context import ScoringContext
from reweight._step.parameter_selection import ParameterSelection, select_parameters
from reweight._step.plain_gradients import PlainGradients
from reweight._trusted.renewal import RenewedGradient
from reweight._warnings import warn
from reweight.errors import check_whole
from reweight.lookahead import SGD, Lookahead, LookaheadLike, as_lookahead, linearize
from reweight.scorers.mixture import Scorer

SimilarityMethod = Literal[
    "auto",
    "forward",
    "double_backward",
    "per_sample",
    "layer_products",
    "finite_difference",
    "unrolled",
]


def _scale(direction: Parameters) -> float:
    """Return the power of two next to the largest magnitude in ``direction``, or 1 if it is zero.

    Raises:
        FloatingPointError: If ``direction`` is not finite.
    """
    sizes = [whole(v.abs().max()) for v in direction.values() if v.numel()]
    largest = (
        float(torch.stack([size.to(widest(size.device)) for size in sizes]).max()) if sizes else 0.0
    )
    if not math.isfinite(largest):
        raise FloatingPointError(
            "the trusted losses are finite, but their gradient, or the look-ahead's derivative, is "
            "not. With a TorchOpt optimiser of Adam's kind pass eps_root=1e-8 to it; else look for "
            "a square root, logarithm or division at zero in the model or the loss."
        )
    return math.ldexp(1.0, math.frexp(largest)[1]) if largest > 0 else 1.0


_SMALLER = (1.0, 2.0**-6, 2.0**-12)
"""By which v is made smaller still, where tangents of float16 overflow."""


def _out_of_range(derivative: Tensor) -> Tensor:
    """Whether overflow or underflow may have touched what matters of ``derivative``, a scalar."""
    largest = derivative.abs().max()
    least = torch.finfo(derivative.dtype).tiny * 1e6
    return ~((largest > least) & (largest < math.inf))


class GradientSimilarity(Scorer):
    """Score each sample by −∂L_v(θ̂(w))/∂w_i at w = 0 (Eq. 3–5; Algorithm 1, lines 5–11).

    L_v is the mean trusted loss and θ̂(w) the look-ahead, one virtual optimiser step on the
    weighted noisy loss. With plain SGD the score is exactly ``lr · ⟨∇L_i(θ), ∇L_v(θ)⟩``: one
    trusted backward pass and one directional derivative, no second-order graph.

    Args:
        method: How the directional derivative is taken. ``"forward"``, ``"double_backward"`` and
            ``"per_sample"`` (C backward passes, which go wherever training goes) are exact,
            ``"finite_difference"`` is approximate (and sees what the model detaches);
            ``"unrolled"`` is Algorithm 1 as written, the slow oracle. ``"auto"`` takes the first of
            the exact ones, in this order, that runs and adds up to an ordinary backward pass; if
            that is not the first, it says so in one warning that names the reason and the price.
            ``"layer_products"`` is exact as well, and cheaper (7/3 of a plain step at most), where
            it can be proved from the graph of the training pass that no operator mixes samples
            (BatchNorm in train mode does): scores and the gradients of ``step.loss`` are products
            of each layer's input and output gradient; the loss then has no second derivative.
            Where both forward mode and double backward go, they are taken in turn in the training
            steps 2 to 9, and the cheaper on this model from then on
            (:meth:`MetaReweighter.explain` tells). They are equally exact and round differently:
            for runs that are alike bit for bit name the method, restore a state from after step
            9, or call ``torch.use_deterministic_algorithms(True)``, under which nothing is timed;
            nor is it by several ranks, which take the first.
        parameters: Restrict the gradients to some parameters: a module, parameters, or patterns
            for their names. The trusted backward pass stops early and tangents start late.
        lookahead: The optimiser of the virtual step: ``None`` for plain SGD,
            :class:`reweight.lookahead.SGD`, a TorchOpt optimiser, or the live ``torch.optim``
            SGD, Adam or AdamW of the training loop.
        inner_steps: Virtual steps, K ≥ 1; more than one needs ``method="unrolled"``.
        renew_every: Let one trusted gradient serve for up to so many training steps: cheaper,
            approximate. For how many is found out at each renewal: for twice as many as before
            where it had hardly changed (cosine at least 0.95), else for one again. With a trusted
            coefficient, which needs it in every step, it is renewed in every step.
        normalize: Whether a score is divided by ``‖∇L_i‖`` over the same parameters: the cosine
            between a sample's gradient and the trusted one, times the length of the latter (LESS,
            Xia et al. 2024). Where samples are independent the norms come from the products of
            ``"layer_products"``, with the other methods at the price of a forward and a backward
            pass; else they take a backward pass a sample, which a warning says once.
        averaging: Share, 0 ≤ share < 1, of the earlier average in a renewed trusted gradient.
            Smoother, and behind the times: in training it did worse than none.

    Raises:
        ValueError: If ``method`` is unknown, ``inner_steps`` is less than 1, or greater than 1
            with another method, if ``renew_every`` or ``averaging`` is out of range, or is used
            with ``"unrolled"``. When called: if there is no trusted batch.
        FloatingPointError: When called, if the trusted gradient is not finite.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from reweight import GradientSimilarity, MetaReweighter
        >>> x = torch.tensor([[1.0], [2.0], [-1.0], [-2.0]])
        >>> y = torch.tensor([1, 0, 0, 0])  # 1 where x > 0, but for the second, which is wrong
        >>> trusted = torch.tensor([[1.0], [-1.0]]), torch.tensor([1, 0])
        >>> model, loss = nn.Linear(1, 2, bias=False), nn.CrossEntropyLoss(reduction="none")
        >>> step = MetaReweighter(model, loss, scorer=GradientSimilarity())((x, y), trusted)
        >>> (step.scores["gradient_similarity"] > 0).tolist()
        [True, False, True, True]
        >>> own = torch.autograd.grad(loss(model(x[:1]), y[:1]).sum(), model.weight)[0]
        >>> trusted_loss = loss(model(trusted[0]), trusted[1]).mean()
        >>> theirs = torch.autograd.grad(trusted_loss, model.weight)[0]
        >>> torch.allclose(step.scores["gradient_similarity"][0].float(), (own * theirs).sum())
        True
    """

    before_training_pass = True
    differentiates = True

    def __init__(
        self,
        method: SimilarityMethod = "auto",
        *,
        parameters: ParameterSelection = None,
        lookahead: LookaheadLike = None,
        inner_steps: int = 1,
        renew_every: int = 1,
        averaging: float = 0.0,
        normalize: bool = False,
    ) -> None:
        if method not in get_args(SimilarityMethod):
            raise ValueError(f"method must be one of {get_args(SimilarityMethod)}, got {method!r}.")
        check_whole("inner_steps", inner_steps)
        if inner_steps > 1 and method != "unrolled":
            raise ValueError(
                f'inner_steps={inner_steps} needs method="unrolled": the other methods are the '
                f"derivative of a single virtual step."
            )
        self._held = RenewedGradient(renew_every, averaging)
        if method == "unrolled" and not self._held.always_fresh:
            raise ValueError(
                'method="unrolled" takes no trusted gradient that could be kept: leave renew_every '
                "and averaging out, or choose another method."
            )
        self.method = method
        one_pass = isinstance(parameters, Iterable) and not isinstance(parameters, str)
        self.parameters: ParameterSelection = list(parameters) if one_pass else parameters  # type: ignore[arg-type]
        self.lookahead: Lookahead = as_lookahead(lookahead)
        self.inner_steps = inner_steps
        if normalize and not isinstance(self.lookahead, SGD):
            raise ValueError(
                "normalize=True divides by the length of a sample's own gradient, which another "
                "look-ahead than SGD does not compare: leave one of the two out."
            )
        self.normalize = normalize
        self._said = False
        self._moves: bool | None = None

    @override
    def __repr__(self) -> str:
        usual = GradientSimilarity()
        names = ("parameters", "inner_steps", "renew_every", "averaging", "normalize")
        changed = [n for n in names if getattr(self, n) != getattr(usual, n)]
        said = [repr(self.method)] if self.method != usual.method else []
        said += [f"{name}={getattr(self, name)!r}" for name in changed]
        if repr(self.lookahead) != repr(usual.lookahead):
            said.append(f"lookahead={self.lookahead!r}")
        return f"GradientSimilarity({', '.join(said)})"

    @property
    @override
    def knows_label_scores(self) -> bool:  # type: ignore[override]
        """Whether the method tells how the model's output moves along the trusted gradient."""
        return self.method in ("auto", "forward", "double_backward") and not self.normalize

    @property
    def renew_every(self) -> int:
        """For how many training steps at most one trusted gradient serves."""
        return self._held.every

    @property
    def averaging(self) -> float:
        """Share of the earlier average in a renewed trusted gradient."""
        return self._held.averaging

    @classmethod
    def fast(cls, **options: Any) -> GradientSimilarity:
        """Return the cheap approximation, as cheap as training allows.

        The directional derivative is a finite difference, one further forward pass, and a trusted
        gradient serves for up to eight steps, as long as it hardly changes; where it changes from
        step to step, as that of small batches does, it is taken anew in every one. What that costs
        and how it trains is measured in ``docs/cost.md``.

        Args:
            options: Settings to change, as for the class.
        """
        return cls(**{"method": "finite_difference", "renew_every": 8, **options})

    def state_dict(self) -> dict[str, Any]:
        """Return the held trusted gradient and its age."""
        return {"held": self._held.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned.

        Raises:
            ValueError: If something is missing, or the held gradient is none.
        """
        if "held" not in state:
            raise ValueError("the state of GradientSimilarity must have 'held'.")
        self._held.load_state_dict(state["held"])

    @override
    def bind(self, objective: Objective) -> None:
        """Fit a trusted gradient that was loaded to the parameters."""
        self._held.bind(objective)

    @override
    def __call__(self, context: ScoringContext) -> Tensor:
        """Return the scores, ``(C,)`` or in the shape of the loss map."""
        names = select_parameters(context.passes.start.named, self.parameters)
        scores = self._similarity(context, names)
        if not self.normalize:
            return scores
        norms = context.gradient_norms(names, self._say).to(scores)
        return torch.where(norms > 0, scores / norms, torch.zeros_like(scores))

    def _say(self, count: int, why: str) -> None:
        """Tell the price of norms that take a backward pass a loss, once."""
        if not self._said:
            self._said = True
            warn(
                f"GradientSimilarity(normalize=True) makes {count} backward passes in a step, one "
                f"for each loss: {why}. The norms are exact; the time grows with the batch."
            )

    def _similarity(self, context: ScoringContext, names: list[str]) -> Tensor:
        if self.method == "unrolled":
            refuse_spread(context.model, self.method)
            with context.told_of_errors(names), missing_derivatives_named("unrolled"):
                context.require_trusted()
                scores, loss = _unrolled(context, names, self.lookahead, self.inner_steps)
            context.trusted_loss = loss if context.trusted_loss is None else context.trusted_loss
            if context.derivatives.is_to_prove_itself("unrolled", names):
                self._check_unrolled(context, names, scores)
            return scores
        direction, factor = self._direction(context, names)
        if not direction:
            return torch.zeros_like(context.losses)
        narrow = context.passes.scores_in_float16
        if narrow or any(v.dtype.itemsize <= 2 for v in direction.values()):
            return self._by_unit_direction(context, direction, factor)
        derivative = self._derivative(context, direction)
        wrong = _out_of_range(derivative)
        at_once = context.later.at_once or self.normalize
        if at_once and bool(wrong):
            return self._by_unit_direction(context, direction, factor)
        self._score_every_label(context, derivative, factor)
        if not at_once:
            context.again_if(
                wrong, partial(self._by_unit_direction, context, direction, factor, anew=True)
            )
        return derivative.to(widest(derivative.device)) * factor

    def _by_unit_direction(
        self, context: ScoringContext, direction: Parameters, factor: float, *, anew: bool = False
    ) -> Tensor:
        if anew:
            context.label_scores = None
        # The product of two tiny gradients may be too small for the model's dtype, that of two
        # huge ones too large, in half precision especially: v is brought to about unit size.
        narrow = context.passes.scores_in_float16
        scale = _scale(direction)
        for smaller in _SMALLER if narrow else _SMALLER[:1]:
            unit = {name: v * (smaller / scale) for name, v in direction.items()}
            derivative = self._derivative(context, unit)
            if not narrow or bool(derivative.isfinite().all()):
                break
        scale /= smaller
        self._score_every_label(context, derivative, factor * scale)
        return derivative.to(widest(derivative.device)) * (factor * scale)

    @override
    def reference(
        self, context: ScoringContext, plain: PlainGradients
    ) -> tuple[Tensor | None, str]:
        """Return the products of every sample's gradient with the trusted one."""
        names = select_parameters(context.passes.start.named, self.parameters)
        notes = []
        if self.method == "finite_difference":
            notes.append("a finite difference is approximate by design")
        if not self._held.always_fresh:
            notes.append("in training, one trusted gradient may serve for several steps")
        if isinstance(self.lookahead, SGD) and self.inner_steps == 1:
            v = {name: plain.trusted[name] for name in names}
            scores = plain.similarity(v) * self.lookahead.lr
            if self.normalize:
                norms = plain.norms(names)
                scores = torch.where(norms > 0, scores / norms, 0.0)
            return scores, "; ".join(notes)
        if self.method == "unrolled":
            return None, "Algorithm 1 as written is the reference for other methods"
        direction, factor = self._direction(context, names)
        notes.append("compared through the look-ahead's derivative")
        return plain.similarity(direction) * factor, "; ".join(notes)

    def _check_unrolled(self, context: ScoringContext, names: list[str], scores: Tensor) -> None:
        """Refuse scores that lose a part of the model: of one plain step, they must add up."""

        def plain() -> Tensor:
            return _unrolled(context, names, SGD(), 1)[0]

        if not isinstance(self.lookahead, SGD) or self.inner_steps > 1:
            scores = plain()
        else:
            scores = scores / self.lookahead.lr
        direction = context.trusted_gradient(names)
        if direction and not context.derivatives.adds_up(direction, scores, plain):
            raise does_not_add_up("unrolled")

    def _direction(self, context: ScoringContext, names: list[str]) -> tuple[Parameters, float]:
        """Return v and a factor, so that the score of sample i is factor · ⟨∇L_i(θ), v⟩."""
        if isinstance(self.lookahead, SGD):
            return self._trusted_gradient(context, names, None), self.lookahead.lr
        trainable = context.trainable()
        near = linearize(self.lookahead, {name: trainable[name] for name in names})
        # Where it was not moved before it is not expected to be, and is looked at later.
        if context.later.at_once or self._moves is None:
            self._moves = bool(near.moved)
        elif not self._moves:
            context.again_if(near.moved, partial(self._moved, context))
        at = near.point if self._moves else None
        return near.pull_back(self._trusted_gradient(context, names, at)), 1.0

    def _moved(self, context: ScoringContext) -> Tensor:
        """Return the scores now that the look-ahead is known to move the parameters."""
        self._moves, context.label_scores, context.later.at_once = True, None, True
        return self(context)

    def _trusted_gradient(
        self, context: ScoringContext, names: list[str], at: Parameters | None
    ) -> Parameters:
        def fresh() -> Parameters:
            return context.trusted_gradient(names, at=at)

        # A look at weights in between must neither see an old gradient nor leave one.
        if self._held.always_fresh or not context.training:
            return fresh()
        self._held.bind(context.objective)
        free = context.full_trusted_gradient and at is None
        found = self._held.next(context.model, names, fresh, context.later.ask, free=free)
        context.require_trusted()  # after it: other ranks may have waited for this one in there
        return found

    def _score_every_label(
        self, context: ScoringContext, derivative: Tensor, factor: float
    ) -> None:
        if not self.normalize:
            context.score_every_label(derivative, factor)

    def _derivative(self, context: ScoringContext, direction: Parameters) -> Tensor:
        assert self.method != "unrolled"
        return context.directional_derivative(direction, self.method)


def _unrolled(
    context: ScoringContext, names: list[str], lookahead: Lookahead, inner_steps: int
) -> tuple[Tensor, Tensor]:
    return unrolled_scores(
        context.objective,
        context.noisy,
        context.trusted,
        lookahead,
        names,
        context.passes.start,
        inner_steps,
        context.joint_trusted_gradient,
    )
