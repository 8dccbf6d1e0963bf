"""Students whose pseudo-labelled samples are weighed at every step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from examples.covid3d.train.lesson import PSEUDO, TRUSTED, Lesson
from examples.covid3d.train.loss import combo_loss
from examples.covid3d.train.patches import PatchBatch
from examples.covid3d.train.training import Logged, Outcome, Recipe
from reweight import MetaReweighter, ReweightedStep, ScoringContext

Loss = Callable[[Tensor, Tensor], Tensor]


class Reweighted(Recipe):
    """Weighs the pseudo-labelled batch by its agreement with a trusted one (Algorithm 1).

    Args:
        lesson: The replicate.
        model: The student.
        options: What :class:`reweight.MetaReweighter` is given beside model and loss; ``scorer``
            may be ``"random"``.
        loss: The combo loss of each sample, or a map of one value per voxel.
    """

    def __init__(
        self,
        lesson: Lesson,
        model: nn.Module,
        options: Mapping[str, Any],
        loss: Loss = combo_loss,
    ) -> None:
        self._noisy = lesson.sampler(lesson.pseudo_scans(), PSEUDO)
        self._trusted = lesson.sampler(lesson.trusted_scans(), TRUSTED)
        self._device, self._seed, self._step = lesson.device, lesson.seed, 0
        options = dict(options)
        if options.get("scorer") == "random":
            options["scorer"] = self._random_weights
        self._reweighter = MetaReweighter(model, loss, **options)

    def _random_weights(self, context: ScoringContext) -> Tensor:
        # Seeded by the step, so that a resumed training draws what it would have drawn.
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self._step)
        scores = torch.randn(context.losses.shape, generator=generator)
        return scores.clamp(min=0).to(context.losses)

    def _weigh(self, noisy: PatchBatch, trusted: PatchBatch) -> ReweightedStep:
        return self._reweighter(noisy.pair(self._device), trusted.pair(self._device))

    def __call__(self, step: int) -> Outcome:
        """Draws both batches of ``step``, weighs the noisy one and gives its weighted loss."""
        self._step = step
        noisy, trusted = self._noisy.draw(step), self._trusted.draw(step)
        self.waited = self._noisy.waited + self._trusted.waited
        result = self._weigh(noisy, trusted)
        weights, losses = result.weights, result.losses
        row: Logged = {
            "mean_loss": float(losses.mean()),
            # Of the batch, whether its weights are those of samples or of voxels.
            "kept": result.kept / weights.numel() * len(weights),
            "share_kept": result.kept / weights.numel(),
            "effective_sample_size": result.effective_sample_size / weights.numel() * len(weights),
        }
        if result.trusted_loss is not None:
            row["trusted_loss"] = float(result.trusted_loss)
        samples = []
        of_sample = weights.flatten(1).sum(1) if weights.ndim > 1 else weights
        loss_of_sample = losses.flatten(1).mean(1) if losses.ndim > 1 else losses
        for index, (name, origin) in enumerate(zip(noisy.names, noisy.origins, strict=True)):
            sample: Logged = {"step": step, "scan": name}
            sample |= dict(zip(("x", "y", "z"), origin, strict=True))
            sample |= {"weight": float(of_sample[index]), "loss": float(loss_of_sample[index])}
            if weights.ndim == 1:
                sample |= {key: float(scores[index]) for key, scores in result.scores.items()}
            samples.append(sample)
        # With nothing kept the loss is zero, but Adam's momentum would still move the parameters.
        update = result.kept > 0 or bool(result.loss.detach() != 0)
        return Outcome(result.loss, update, row, samples)

    def state_dict(self) -> dict[str, Any]:
        """What the reweighter goes by: which way scores are taken in a step, among other things."""
        return {"reweighter": self._reweighter.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes it back."""
        self._reweighter.load_state_dict(state["reweighter"])
