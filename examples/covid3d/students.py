"""How a student weighs its pseudo-labelled samples, one entry a method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from examples.covid3d.loss import combo_loss
from examples.covid3d.patches import PatchSampler
from examples.covid3d.training import Outcome, Row
from reweight import GradientSimilarity, KeepAll, LastLayerGradient, MetaReweighter, ScoringContext


@dataclass(frozen=True)
class Method:
    """A way to weigh samples.

    Attributes:
        label: Name in tables and figures.
        meaning: One line for the report.
        options: What :class:`reweight.MetaReweighter` is given beside model and loss; None for the
            plain mean loss. ``scorer`` may be ``"random"``.
    """

    label: str
    meaning: str
    options: Callable[[], Mapping[str, Any]] | None


METHODS = {
    "equal": Method("Equal weights", "mean loss over the pseudo-labelled batch", None),
    "random": Method(
        "Random weights",
        "rectified normal weights, the control for any reweighting",
        lambda: {"scorer": "random", "selector": KeepAll()},
    ),
    "rgs": Method(
        "RGS",
        "gradient similarity, all samples kept",
        lambda: {"scorer": GradientSimilarity(), "selector": KeepAll()},
    ),
    "rgm": Method(
        "RGM",
        "last-layer gradient magnitude, all samples kept",
        lambda: {"scorer": LastLayerGradient(), "selector": KeepAll()},
    ),
    "rgsm": Method(
        "RGS&M",
        "both scores at λ = 0.5, all samples kept",
        lambda: {"selector": KeepAll()},
    ),
    "rgs_al": Method(
        "RGS+AL",
        "gradient similarity, weights below 1/C dropped",
        lambda: {"scorer": GradientSimilarity()},
    ),
    "rgsm_al": Method(
        "RGS&M+AL",
        "the paper's method: both scores at λ = 0.5, weights below 1/C dropped",
        dict,
    ),
    "rgsm_al_trusted": Method(
        "RGS&M+AL + trusted",
        "beyond the paper: the mean trusted loss is added to the objective",
        lambda: {"trusted_coefficient": 1.0},
    ),
}
"""Methods by the name that ``--methods`` takes."""


class EqualWeights:
    """Objective of supervised training: the mean loss of the batch."""

    def __init__(self, model: nn.Module, sampler: PatchSampler, device: torch.device) -> None:
        self._model, self._sampler, self._device = model, sampler, device

    def __call__(self, step: int) -> Outcome:
        """Draws batch ``step`` and returns its mean loss."""
        batch = self._sampler.draw(step)
        images, masks = batch.pair(self._device)
        losses = combo_loss(self._model(images), masks)
        loss = losses.mean()
        return Outcome(loss, row={"mean_loss": float(loss.detach())})


class Reweighted:
    """Objective of a student whose samples are weighed by their agreement with trusted ones.

    Args:
        method: Name in :data:`METHODS`, with options.
        model: The student.
        noisy: Draws pseudo-labelled batches.
        trusted: Draws expert-annotated batches.
        device: Where the model is.
        seed: Seed of random weights.
    """

    def __init__(
        self,
        method: str,
        model: nn.Module,
        noisy: PatchSampler,
        trusted: PatchSampler,
        device: torch.device,
        seed: int,
    ) -> None:
        build = METHODS[method].options
        if build is None:
            raise ValueError(f"method {method!r} does not reweight")
        options = dict(build())
        if options.get("scorer") == "random":
            options["scorer"] = self._random_weights
        self._noisy, self._trusted, self._device, self._seed = noisy, trusted, device, seed
        self._step = 0
        self._reweighter = MetaReweighter(model, combo_loss, **options)

    def _random_weights(self, context: ScoringContext) -> Tensor:
        # Seeded by the step, so that a resumed training draws what it would have drawn.
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self._step)
        scores = torch.randn(context.losses.shape, generator=generator)
        return scores.clamp(min=0).to(context.losses)

    def __call__(self, step: int) -> Outcome:
        """Draws both batches of ``step``, weighs the noisy one and returns its weighted loss."""
        self._step = step
        noisy, trusted = self._noisy.draw(step), self._trusted.draw(step)
        result = self._reweighter(noisy.pair(self._device), trusted.pair(self._device))
        row: Row = {
            "mean_loss": float(result.losses.mean()),
            "kept": result.kept,
            "effective_sample_size": result.effective_sample_size,
        }
        if result.trusted_loss is not None:
            row["trusted_loss"] = float(result.trusted_loss)
        samples = []
        for index, (name, origin) in enumerate(zip(noisy.names, noisy.origins, strict=True)):
            sample: Row = {"step": step, "scan": name}
            sample |= dict(zip(("x", "y", "z"), origin, strict=True))
            sample |= {"weight": float(result.weights[index]), "loss": float(result.losses[index])}
            sample |= {key: float(scores[index]) for key, scores in result.scores.items()}
            samples.append(sample)
        # With nothing kept the loss is zero, but Adam's momentum would still move the parameters.
        update = result.kept > 0 or bool(result.loss.detach() != 0)
        return Outcome(result.loss, update, row, samples)
