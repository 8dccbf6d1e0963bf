"""What one call of a :class:`~reweight.MetaReweighter` returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from reweight._dtypes import widest


@dataclass(frozen=True, eq=False)
class ReweightedStep:
    """The weighted loss of one step and how its weights came about.

    C is the number of samples of this batch; with ``granularity="element"`` read ``(C, *S)`` for
    ``(C,)``, S the shape of one sample's loss map.

    Attributes:
        loss: Scalar ``Σ w_i L_i`` (Eq. 9; a sum) plus ``β L_v`` where a trusted coefficient β is
            set. It carries the graph: call ``loss.backward()``.
        weights: ``(C,)``, non-negative, in float32 or wider, without gradient.
        losses: ``(C,)``, the unweighted sample losses that are trained on (under ``labels=`` those
            of the mended labels), detached. NaN for a dropped sample.
        scores: The raw scores by scorer name, ``(C,)`` each. NaN for a dropped sample.
        trusted_loss: Scalar mean trusted loss ``L_v`` where a scorer or β needed it, else ``None``.
        empty: Whether no sample survived selection, before the ``on_empty`` policy was applied.
        dropped: Positions of the noisy samples left out because they were not finite
            (``on_nonfinite="drop"``).
        counted: ``(C,)`` bool, false where a loss does not count: its target is ignored, or
            ``forward`` said so. Its weight and scores are 0, and it has no share in 1/C. ``None``:
            all count.
        label_scores: ``(C, K)``, where they were asked for: the score that each sample would have
            under each of the K labels, by the first scorer that knows, in its scale. Where a sample
            has a map of labels, ``(C, *S, K)``: of the loss at that place alone. 0 where no label
            is given, NaN for a dropped sample.
        kept_by_all: How many weights are positive on all ranks, a scalar on the device.
    """

    loss: Tensor
    weights: Tensor
    losses: Tensor
    scores: dict[str, Tensor] = field(default_factory=dict)
    trusted_loss: Tensor | None = None
    empty: bool = False
    dropped: tuple[int, ...] = ()
    counted: Tensor | None = None
    kept_by_all: Tensor | None = None
    label_scores: Tensor | None = None

    @property
    def kept(self) -> int:
        """Number of positive weights. At 0 the loss is a differentiable zero (plus ``β L_v``).

        Skip the optimiser step then, so that momentum and weight decay do not move the parameters.
        Under DistributedDataParallel it is that of all ranks, so that they skip it together.
        """
        if self.kept_by_all is not None:
            return int(self.kept_by_all)
        return int((self.weights > 0).sum())

    @property
    def effective_sample_size(self) -> float:
        """Kish's effective sample size ``(Σ w)² / Σ w²``: C for equal weights, 0 for none."""
        relative = self.weights.to(widest(self.weights.device))
        total = float(relative.sum())
        return total**2 / float(relative.square().sum()) if total > 0 else 0.0
