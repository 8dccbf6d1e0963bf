"""The rows of the tables: ways to train, one entry each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from benchmarks.seeding import seed_for
from benchmarks.sets.problem import Problem
from benchmarks.trials.learnt_mixture import LearntMixture
from reweight import (
    GradientSimilarity,
    GroupWeights,
    KeepAll,
    LastLayerGradient,
    MendedLabels,
    MetaReweighter,
    PerBatch,
    RandomWeights,
    SampleWeights,
    ScoringContext,
    SoftLabels,
    Uniform,
    WeightNet,
)

if TYPE_CHECKING:
    from reweight.labels import RememberedLabels
    from reweight.weightings import WeightingLike

TRUSTED = 0.1
"""The trusted coefficient of every row that does not name its own."""

Loss = Callable[[Tensor, Tensor], Tensor]
Samples = Literal["pool", "clean", "trusted", "folds"]


@dataclass(frozen=True, eq=False)
class Made:
    """What a row's reweighter is made of.

    Attributes:
        model: The network.
        problem: The data.
        seed: Of the run.
        loss: ``(output, target) -> (C,)``.
        options: Further arguments of every reweighter: ``dynamics=``, where they are looked at.
    """

    model: nn.Module
    problem: Problem
    seed: int
    loss: Loss
    options: Mapping[str, Any]

    @property
    def rows(self) -> int:
        """How many ids there are."""
        return len(self.problem.pool[1])

    @property
    def items(self) -> int:
        """How many texts or images there are."""
        items = self.problem.items
        return self.rows if items is None else int(items.max()) + 1

    @property
    def sources(self) -> int:
        """How many groups there are."""
        groups = self.problem.groups
        return self.problem.classes if groups is None else int(groups.max()) + 1

    def reweighter(self, trusted: float = TRUSTED, **arguments: Any) -> MetaReweighter:
        """Return a reweighter, with the trusted term but where it is told otherwise."""
        return MetaReweighter(
            self.model, self.loss, trusted_coefficient=trusted, **{**arguments, **self.options}
        )


Build = Callable[[Made], MetaReweighter]


@dataclass(frozen=True)
class Row:
    """A way to train.

    Attributes:
        name: In tables and file names.
        what: One line for the report.
        build: Makes its reweighter; ``None`` for ordinary training.
        needs_trusted: Whether its result depends on the trusted set.
        samples: What it trains on: all of the pool, its rightly labelled samples as an oracle
            tells them, the trusted set alone, or two thirds of the pool at a time.
        stops: Whether it is also reported as stopped at its best epoch, at a rate tuned for that.
        by_item: Whether ``ids`` are those of texts, not of (text, rule) pairs.
        adjusted: Whether its loss is adjusted for the frequencies of classes.
    """

    name: str
    what: str
    build: Build | None = None
    needs_trusted: bool = True
    samples: Samples = "pool"
    stops: bool = False
    by_item: bool = False
    adjusted: bool = False

    def fits(self, problem: Problem) -> bool:
        """Return whether the data tell what it needs."""
        return problem.truth is not None or self.samples != "clean"


def _uniform(trusted: float = TRUSTED) -> Build:
    """Return a builder: equal weights, and the trusted term."""
    return lambda made: made.reweighter(trusted, scorer=Uniform(), selector=KeepAll())


def _random(made: Made) -> MetaReweighter:
    scorer = RandomWeights(seed=seed_for(made.seed, "random weights"))
    return made.reweighter(scorer=scorer, selector=KeepAll())


def _small_loss(context: ScoringContext) -> Tensor:
    losses = context.losses
    return losses.mean() - losses


def _loss_table(made: Made) -> MetaReweighter:
    return made.reweighter(
        scorer=_small_loss, weighting=SampleWeights(made.rows), selector=KeepAll()
    )


def _similarity(made: Made) -> MetaReweighter:
    return made.reweighter(scorer=GradientSimilarity(), selector=KeepAll())


def _mixture(made: Made) -> MetaReweighter:
    scorer = 0.5 * GradientSimilarity() + 0.5 * LastLayerGradient()
    return made.reweighter(scorer=scorer, weighting=PerBatch(), selector=KeepAll())


def _learnt_mixture(made: Made) -> MetaReweighter:
    scorer = 0.5 * GradientSimilarity() + 0.5 * LastLayerGradient()
    return made.reweighter(scorer=scorer, weighting=LearntMixture())


def _default(made: Made) -> MetaReweighter:
    return made.reweighter(trusted=0.0)


def _per_batch(made: Made) -> MetaReweighter:
    return made.reweighter()


def _paper(made: Made) -> MetaReweighter:
    return MetaReweighter.paper(made.model, made.loss, **made.options)


def _weighted(weighting: Callable[[Made], WeightingLike], trusted: float = TRUSTED) -> Build:
    """Return a builder: the default scorer, and what remembers its scores."""

    def build(made: Made) -> MetaReweighter:
        return made.reweighter(trusted, weighting=weighting(made))

    return build


def _labelled(labels: Callable[[Made], RememberedLabels], trusted: float = TRUSTED) -> Build:
    """Return a builder: equal weights, and labels that are mended by the label scores."""

    def build(made: Made) -> MetaReweighter:
        return made.reweighter(trusted, labels=labels(made))

    return build


def _remembered_loss(made: Made) -> WeightNet:
    return WeightNet(features=("remembered_loss",), num_samples=made.rows, seed=made.seed)


def _mended(made: Made, **options: float) -> MendedLabels:
    return MendedLabels(made.rows, made.problem.classes, **options)  # type: ignore[arg-type]


def _mended_and_net(made: Made) -> MetaReweighter:
    return made.reweighter(labels=_mended(made), weighting=_remembered_loss(made))


_ALL = (
    Row("plain", "equal weights, ordinary training on the pool", None, False, stops=True),
    Row("random", "random weights max(0, N(0, 1)), plus a tenth of the trusted loss", _random),
    Row("trusted", "ordinary training on the trusted set alone", samples="trusted"),
    Row("plain+trusted", "equal weights, plus a tenth of a trusted batch's loss", _uniform()),
    Row("plain+trusted-1", "equal weights, plus all of a trusted batch's loss", _uniform(1.0)),
    Row("clean", "oracle: the rightly labelled alone", None, False, "clean"),
    Row(
        "clean+trusted",
        "oracle: the rightly labelled alone, plus a tenth of the trusted loss",
        _uniform(),
        samples="clean",
    ),
    Row(
        "loss-table",
        "control: the table of `sample-weights`, fed with mean loss − loss",
        _loss_table,
    ),
    Row("similarity", "per batch: gradient similarity (Ren et al. 2018)", _similarity),
    Row("default", "per batch: `MetaReweighter(model, loss)` and no more", _default),
    Row("per-batch", "`default`, plus a tenth of the trusted loss", _per_batch),
    Row("mixture", "per batch: similarity and last-layer gradient, half and half", _mixture),
    Row("learnt-mixture", "`mixture`, λ set on the fly by the trusted batch", _learnt_mixture),
    Row(
        "paper", "per batch: the mixture, rectified, without trusted loss (Hussain et al.)", _paper
    ),
    Row(
        "sample-weights",
        "`SampleWeights`: scores summed by sample",
        _weighted(lambda made: SampleWeights(made.rows)),
    ),
    Row(
        "group-weights",
        "`GroupWeights`: scores summed by source, or by given class where there is one source",
        _weighted(lambda made: GroupWeights(made.sources)),
    ),
    Row(
        "weight-net",
        "`WeightNet` on the sample's remembered loss",
        _weighted(_remembered_loss),
    ),
    Row(
        "weight-net-step",
        "`WeightNet` on the loss of the step (Meta-Weight-Net, Shu et al. 2019)",
        _weighted(lambda made: WeightNet(features=("loss",), seed=made.seed)),
    ),
    Row(
        "sum",
        "`WeightNet` on the remembered loss + `SampleWeights`, as logits",
        _weighted(lambda made: _remembered_loss(made) + SampleWeights(made.rows)),
    ),
    Row(
        "soft-labels",
        "`SoftLabels`: a label distribution for each text or image, moved by label scores",
        _labelled(lambda made: SoftLabels(made.items, made.problem.classes)),
        by_item=True,
    ),
    Row(
        "mended-labels",
        "the recipe of the README, `MendedLabels`: the label as far as it is trusted, the "
        "remembered prediction for the rest",
        _labelled(_mended),
    ),
    Row(
        "mended-labels-1",
        "`mended-labels`, plus all of a trusted batch's loss",
        _labelled(_mended, trusted=1.0),
    ),
    Row(
        "mended-labels-0",
        "`mended-labels`, without the trusted loss",
        _labelled(_mended, trusted=0.0),
    ),
    Row(
        "bootstrap-88",
        "control: the labels of `mended-labels`, every one trusted by 0.88 for good",
        _labelled(lambda made: _mended(made, prior=2.0, rate=0.0, pair_rate=0.0)),
    ),
    Row(
        "bootstrap-50",
        "control: the labels of `mended-labels`, every one trusted by 0.5 for good",
        _labelled(lambda made: _mended(made, prior=0.0, rate=0.0, pair_rate=0.0)),
    ),
    Row(
        "mended+net",
        "`MendedLabels`, and `WeightNet` on the remembered loss",
        _mended_and_net,
    ),
    Row(
        "logit-adjustment",
        "ordinary training, logits adjusted by class frequency (Menon et al. 2021)",
        None,
        False,
        adjusted=True,
    ),
    Row(
        "sample-weights+logit-adjustment",
        "`sample-weights`, logits adjusted likewise",
        _weighted(lambda made: SampleWeights(made.rows)),
        adjusted=True,
    ),
    Row("folds", "out of fold: trained on two thirds, asked of the third", None, False, "folds"),
)
ROWS = {row.name: row for row in _ALL}
RECIPE = "mended-labels"
"""The row that the README begins with, which aims speak of."""


def loss_of(row: Row, problem: Problem) -> Loss:
    """Return the loss by sample that a row trains with."""
    if not row.adjusted:
        return nn.CrossEntropyLoss(reduction="none")
    counts = problem.pool[1].bincount(minlength=problem.classes)
    return AdjustedLoss((counts + 1).double().log().float())


class AdjustedLoss:
    """Cross-entropy of logits plus the log of how frequent each class is.

    Args:
        prior: ``(classes,)`` logarithms, up to a constant.
    """

    reduction = "none"

    def __init__(self, prior: Tensor) -> None:
        self.prior = prior

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        """Return ``(C,)`` losses."""
        return nn.functional.cross_entropy(output + self.prior, target, reduction="none")


def selected(row: Row, problem: Problem) -> Tensor:
    """Return which samples of the pool a row trains on, ``(n,)`` indices."""
    if row.samples != "clean":
        return torch.arange(len(problem.pool[1]))
    assert problem.truth is not None, "the plan leaves such rows out"
    return (problem.pool[1] == problem.truth).nonzero().flatten()
