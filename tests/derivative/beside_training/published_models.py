"""Small random models of Hugging Face's, PEFT's and timm's, by name, each with its batch losses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES, LENGTH, WORDS = 3, 6, 30
TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "num_labels": CLASSES,
}


@dataclass
class Published:
    """A model, what makes a batch of n samples for it, and a loss a sample."""

    model: nn.Module
    batch: Callable[[int], Any]
    losses: Callable[[nn.Module, Any], Tensor]


def ids(n: int, length: int = LENGTH) -> Tensor:
    return torch.randint(1, WORDS, (n, length))


def labels(n: int) -> Tensor:
    return torch.randint(CLASSES, (n,))


def sentences(n: int) -> Any:
    """The first one is padded."""
    mask = torch.ones(n, LENGTH, dtype=torch.long)
    mask[0, LENGTH - 2 :] = 0
    return {"input_ids": ids(n), "attention_mask": mask}, labels(n)


def images(side: int) -> Callable[[int], Any]:
    return lambda n: (torch.randn(n, 3, side, side), labels(n))


def classified(model: nn.Module, batch: Any) -> Tensor:
    inputs, target = batch
    out = model(**inputs) if isinstance(inputs, dict) else model(inputs)
    return F.cross_entropy(getattr(out, "logits", out), target, reduction="none")


def pixels(model: nn.Module, batch: Any) -> Tensor:
    return classified(model, ({"pixel_values": batch[0]}, batch[1]))


def next_words(model: nn.Module, batch: Any) -> Tensor:
    given = batch[0] if isinstance(batch, tuple) else batch
    out = model(**given, use_cache=False).logits[:, :-1]
    found, target = out.transpose(1, 2), given["input_ids"][:, 1:]
    return F.cross_entropy(found, target, reduction="none").mean(1)


def gpt2(**more: Any) -> Published:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=WORDS, n_embd=16, n_layer=2, n_head=2, n_positions=8, bos_token_id=0, **more
    )
    return Published(GPT2LMHeadModel(config), sentences, next_words)


def bert(**more: Any) -> Published:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(**TINY, vocab_size=WORDS, max_position_embeddings=8, **more)
    return Published(BertForSequenceClassification(config), sentences, classified)


def vit() -> Published:
    from transformers import ViTConfig, ViTForImageClassification

    model = ViTForImageClassification(ViTConfig(**TINY, image_size=16, patch_size=8))
    return Published(model, images(16), pixels)


def convnext() -> Published:
    from transformers import ConvNextConfig, ConvNextForImageClassification

    config = ConvNextConfig(
        hidden_sizes=[4, 4, 8, 8], depths=[1, 1, 1, 1], drop_path_rate=0.3, num_labels=CLASSES
    )
    return Published(ConvNextForImageClassification(config), images(32), pixels)


def llama(**more: Any) -> Published:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        **TINY, vocab_size=WORDS, num_key_value_heads=1, max_position_embeddings=8, **more
    )
    return Published(LlamaForCausalLM(config), sentences, next_words)


def lora(**more: Any) -> Published:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        task_type="CAUSAL_LM", r=2, lora_dropout=0.1, target_modules=["q_proj", "v_proj"]
    )
    made = llama(**more)
    made.model = get_peft_model(made.model, config)
    for name, p in made.model.named_parameters():
        if "lora_B" in name:  # zero at first, when nothing reaches the other factor
            nn.init.normal_(p)
    return made


def t5(**more: Any) -> Published:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=WORDS, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2, **more
    )

    def losses(model: nn.Module, batch: Any) -> Tensor:
        given, target = batch
        out = model(input_ids=given, decoder_input_ids=target, use_cache=False).logits
        return F.cross_entropy(out.transpose(1, 2), target, reduction="none").mean(1)

    return Published(T5ForConditionalGeneration(config), lambda n: (ids(n), ids(n, 4)), losses)


def timm_vit() -> Published:
    from timm import create_model

    model = create_model(
        "vit_tiny_patch16_224",
        img_size=32,
        embed_dim=12,
        depth=2,
        num_heads=2,
        num_classes=CLASSES,
        drop_path_rate=0.3,
    )
    return Published(model, images(32), classified)


def timm_convnext() -> Published:
    from timm.models.convnext import ConvNeXt

    model = ConvNeXt(
        depths=(1, 1, 1, 1), dims=(4, 4, 8, 8), drop_path_rate=0.3, num_classes=CLASSES
    )
    return Published(model, images(32), classified)


EAGER: dict[str, Any] = {"attn_implementation": "eager"}
FUSED: dict[str, Any] = {"attn_implementation": "sdpa"}
NO_DROPOUT = {"attn_pdrop": 0.0}
PUBLISHED: dict[str, tuple[str, Callable[[], Published]]] = {
    "GPT-2": ("transformers", lambda: gpt2(**FUSED, **NO_DROPOUT)),
    "GPT-2, eager": ("transformers", lambda: gpt2(**EAGER)),
    "BERT": ("transformers", lambda: bert(**FUSED, attention_probs_dropout_prob=0.0)),
    "BERT, eager": ("transformers", lambda: bert(**EAGER)),
    "ViT": ("transformers", vit),
    "ConvNeXt": ("transformers", convnext),
    "Llama": ("transformers", lambda: llama(**FUSED)),
    "Llama, eager": ("transformers", lambda: llama(**EAGER)),
    "LoRA on Llama": ("peft", lambda: lora(**FUSED)),
    "LoRA on Llama, eager": ("peft", lambda: lora(**EAGER)),
    "T5": ("transformers", t5),
    "ViT (timm)": ("timm", timm_vit),
    "ConvNeXt (timm)": ("timm", timm_convnext),
}
"""What each needs to be installed, and what makes it."""
