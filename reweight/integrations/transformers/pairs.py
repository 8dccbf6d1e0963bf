"""One loss a pair of answers, of direct preference optimisation (DPO)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reweight._step.sample_losses import SampleLosses

_REFERENCE = ("ref_chosen_logps", "ref_rejected_logps")


@dataclass(frozen=True)
class PairLosses:
    """−log σ(β · (log-ratio of the chosen answer − that of the rejected one)), one a pair.

    Attributes:
        beta: β of the DPO configuration.
    """

    beta: float

    @classmethod
    def of(cls, args: Any) -> PairLosses:
        """Return those of a ``DPOConfig``.

        Raises:
            ValueError: If it asks for another loss.
        """
        kinds = getattr(args, "loss_type", "sigmoid")
        kinds = [kinds] if isinstance(kinds, str) else list(kinds)
        others = {
            "loss_type": None if kinds == ["sigmoid"] else kinds,
            "loss_weights": getattr(args, "loss_weights", None),
            "use_weighting": getattr(args, "use_weighting", False),
            "ld_alpha": getattr(args, "ld_alpha", None),
            "router_aux_loss_coef": getattr(args, "router_aux_loss_coef", None),
        }
        divergence = getattr(args, "f_divergence_type", "reverse_kl")
        others["f_divergence_type"] = (
            None if "reverse_kl" in str(divergence).lower() else divergence
        )
        wrong = [f"{name}={value!r}" for name, value in others.items() if value]
        if wrong:
            raise ValueError(
                f"pairs are weighed by the sigmoid DPO loss alone, as TRL returns no loss a pair; "
                f"this DPOConfig has {', '.join(wrong)}. Leave that out, or give "
                f'reweighter={{"forward": ...}}, a function (model, batch) that returns one loss '
                f"a pair."
            )
        return cls(float(args.beta))

    def __call__(self, model: nn.Module, batch: Mapping[str, Any]) -> SampleLosses:
        """Return ``(C,)`` losses of C pairs; the batch holds what was chosen first."""
        mask = batch["completion_mask"]
        left_out = ("completion_mask", *_REFERENCE)
        inputs = {k: v for k, v in batch.items() if k not in left_out}
        logits = model(**inputs, use_cache=False).logits
        labels = batch["input_ids"].masked_fill(mask == 0, -100)[:, 1:]
        logits = logits[:, -labels.shape[1] - 1 : -1].float()
        per_token = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
        chosen, rejected = (-per_token.reshape(labels.shape).sum(dim=1)).chunk(2)
        better, worse = (batch[name].to(chosen) for name in _REFERENCE)
        losses = -F.logsigmoid(self.beta * ((chosen - better) - (rejected - worse)))
        return SampleLosses(losses, torch.ones_like(losses, dtype=torch.bool))


def with_reference(trainer: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Return the batch with what the reference model says of it, if that is not in it yet.

    Raises:
        ValueError: If TRL's trainer is of another kind than is known here.
    """
    found = dict(batch)
    if "completion_mask" not in found or "input_ids" not in found:
        raise ValueError(
            f"a batch of DPOTrainer was expected to hold input_ids and completion_mask, chosen "
            f"answers first, as in TRL 1.16; it holds {sorted(found)}. Update TRL."
        )
    if all(name in found for name in _REFERENCE):
        return found
    model = trainer.model if trainer.ref_model is None else trainer.ref_model
    values: tuple[Tensor, Tensor] = trainer.compute_ref_log_probs(model, found)
    return {**found, **dict(zip(_REFERENCE, values, strict=True))}
