"""One loss a sample, or a token, of the models of transformers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from reweight._step.sample_losses import SampleLosses

Kind = Literal["classes", "tokens", "next tokens"]

_KINDS: dict[str, Kind] = {
    "ForSequenceClassification": "classes",
    "ForImageClassification": "classes",
    "ForVideoClassification": "classes",
    "ForAudioClassification": "classes",
    "ForTokenClassification": "tokens",
    "ForMaskedLM": "tokens",
    "ForCausalLM": "next tokens",
    "ForConditionalGeneration": "next tokens",
}
_MEND = (
    "Give compute_loss_func=, a function (outputs, labels, num_items_in_batch=None) that returns "
    'one loss a sample (reduction="none"), or reweighter={"forward": ...}, a function (model, '
    "batch) that returns such losses."
)


@dataclass(frozen=True)
class ModelLosses:
    """The losses that a model of transformers takes the mean of.

    Attributes:
        kind: What is predicted: a class, or a number, a sample; a label a token; the next token.
        smoothing: ``label_smoothing_factor`` of the Trainer.
        problem: Of ``"classes"``: ``"regression"``, ``"single_label_classification"`` or
            ``"multi_label_classification"``; ``None``: by the labels' kind.
        num_labels: Of ``"classes"``: how many there are.
        asks_for_labels: Whether the model makes its inputs from the labels (encoder and decoder).
    """

    kind: Kind
    smoothing: float = 0.0
    problem: str | None = None
    num_labels: int = 0
    asks_for_labels: bool = False

    @classmethod
    def of(cls, model: nn.Module, smoothing: float) -> ModelLosses:
        """Return those of ``model``, which is not wrapped.

        Raises:
            ValueError: If they are not known, or not smoothed by the Trainer in this way.
        """
        name = getattr(model, "loss_type", None)
        if name is None and type(model).__name__ in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values():
            name = "ForCausalLM"  # GPT2LMHeadModel and its like
        config = getattr(model, "config", None)
        if name not in _KINDS or config is None:
            raise ValueError(
                f"what {type(model).__name__} takes as its loss is not known here (its loss_type "
                f"is {name!r}; known are {', '.join(_KINDS)}). {_MEND}"
            )
        kind = _KINDS[name]
        both = bool(getattr(config, "is_encoder_decoder", False))
        if both and kind == "next tokens":
            kind = "tokens"  # the decoder's inputs are shifted, its labels are not
        problem = getattr(config, "problem_type", None) if kind == "classes" else None
        return cls(
            kind,
            smoothing,
            problem,
            int(getattr(config, "num_labels", 0)),
            both,
        )

    def __call__(self, model: nn.Module, batch: Mapping[str, Any]) -> SampleLosses:
        """Return ``(C,)`` losses of classes, ``(C, T)`` of tokens; labels of -100 do not count."""
        inputs = dict(batch)
        labels, shifted = inputs.pop("labels", None), inputs.pop("shift_labels", None)
        if labels is None and shifted is None:
            raise ValueError(
                f"the batch has no labels, only {sorted(inputs)}: nothing can be learnt from it. "
                f"{_MEND}"
            )
        if self.asks_for_labels and "decoder_input_ids" not in inputs:
            inputs["labels"] = labels
        outputs = model(**inputs)
        return self.of_logits(
            outputs["logits"] if isinstance(outputs, dict) else outputs[0], labels, shifted
        )

    def of_logits(
        self, logits: Tensor, labels: Tensor | None, shifted: Tensor | None = None
    ) -> SampleLosses:
        """Return the losses of ``logits``; ``shifted`` are labels already moved to their place."""
        logits = logits.float()
        if self.kind == "classes":
            assert labels is not None
            return self._of_classes(logits, labels)
        if self.kind == "next tokens":
            if shifted is not None:
                labels = shifted
            else:
                assert labels is not None
                _check_tokens(logits, labels)
                logits, labels = logits[:, :-1], labels[:, 1:]
        assert labels is not None
        _check_tokens(logits, labels)
        return self._cross_entropy(logits, labels)

    def _of_classes(self, logits: Tensor, labels: Tensor) -> SampleLosses:
        problem = self.problem
        if problem is None:
            whole = not labels.is_floating_point()
            many = "single_label_classification" if whole else "multi_label_classification"
            problem = "regression" if self.num_labels == 1 else many
        if problem == "single_label_classification":
            return self._cross_entropy(logits, labels.reshape(logits.shape[:-1]))
        if problem == "regression":
            if self.smoothing:
                raise ValueError(
                    "label_smoothing_factor smooths classes, and this model predicts numbers "
                    "(regression). Leave it at 0."
                )
            return SampleLosses((logits - labels.reshape(logits.shape)).square().mean(dim=-1))
        # The Trainer does not smooth several labels a sample either, and says so.
        found = F.binary_cross_entropy_with_logits(logits, labels.to(logits), reduction="none")
        return SampleLosses(found.mean(dim=-1))

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> SampleLosses:
        losses = F.cross_entropy(
            logits.flatten(0, -2),
            labels.flatten(),
            reduction="none",
            label_smoothing=self.smoothing,
        )
        counted = labels != -100
        return SampleLosses(losses.reshape(labels.shape), counted, logits, labels)

    @torch.no_grad()
    def check(self, model: nn.Module, batch: Mapping[str, Any]) -> None:
        """Compare the mean of these losses with the loss that the model itself returns.

        One forward pass in evaluation mode, which draws no random numbers and moves no buffers.

        Raises:
            ValueError: If the model trains on something else, such as classes of unequal weight or
                a term of its router.
        """
        modes = [(module, module.training) for module in model.modules()]
        model.eval()
        try:
            outputs = model(**batch)
        finally:
            for module, mode in modes:
                module.training = mode
        own = outputs["loss"] if isinstance(outputs, dict) and "loss" in outputs else None
        if not isinstance(own, Tensor) or not bool(own.isfinite()):
            return  # a custom model that returns no loss, or a batch in which nothing counts
        logits = outputs["logits"]
        plain = replace(self, smoothing=0.0)
        found = plain.of_logits(logits, batch.get("labels"), batch.get("shift_labels"))
        counted = found.losses if found.counted is None else found.losses[found.counted]
        mean, own = float(counted.mean()), float(own)
        exact = logits.dtype in (torch.float32, torch.float64)
        if abs(mean - own) > (1e-3 if exact else 3e-2) * max(abs(own), 1e-2):
            raise ValueError(
                f"{type(model).__name__} says that its loss on the first batch is {own:.6g}, and "
                f"the mean of the plain losses per sample is {mean:.6g}: it trains on something "
                f"else, which weights would change in silence. {_MEND}"
            )


@dataclass(frozen=True)
class OwnLosses:
    """The losses of a function the user gave the Trainer, ``compute_loss_func``.

    Attributes:
        function: ``(outputs, labels, num_items_in_batch=None)``, one value a sample or token.
    """

    function: Callable[..., Any]

    def __call__(self, model: nn.Module, batch: Mapping[str, Any]) -> Any:
        """Return what the function says of the model's outputs, of which labels are no input."""
        inputs = dict(batch)
        labels = inputs.pop("labels", None)
        found = self.function(model(**inputs), labels, num_items_in_batch=None)
        if isinstance(found, Tensor) and found.dim() == 0:
            raise ValueError(
                "compute_loss_func returned one number for the whole batch, of which samples "
                'cannot be weighed. Return one loss a sample, (C,), with reduction="none"; in '
                "evaluation the Trainer takes the mean of them."
            )
        return found


def _check_tokens(logits: Tensor, labels: Tensor) -> None:
    if logits.shape[:-1] != labels.shape:
        raise ValueError(
            f"the model returned logits of shape {tuple(logits.shape)} for labels of shape "
            f"{tuple(labels.shape)}: there must be one a label (prompt tuning puts tokens of its "
            f"own in front). {_MEND}"
        )
