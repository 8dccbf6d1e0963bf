"""Models, data and arguments of transformers at tiny size, made in memory."""
# ruff: noqa: ARG002 - callbacks are called by name

from __future__ import annotations

import random

import datasets
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    DataCollatorWithPadding,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
    TrainerCallback,
    TrainingArguments,
)

WORDS = 30


def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {"<pad>": 0, "<unk>": 1, "</s>": 2}
    vocabulary |= {f"w{i}": i for i in range(3, WORDS)}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="</s>",
        model_max_length=32,
    )


def collator():
    return DataCollatorWithPadding(tokenizer())


def bert(kind=BertForSequenceClassification, *, dropout=0.0, seed=0, **config):
    torch.manual_seed(seed)
    return kind(
        BertConfig(
            vocab_size=WORDS,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=32,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
            **{"num_labels": 3, **config},
        )
    )


def tagger(**config):
    return bert(BertForTokenClassification, **config)


def llama(seed=0):
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=WORDS,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            intermediate_size=32,
            max_position_embeddings=32,
            pad_token_id=0,
            eos_token_id=2,
            bos_token_id=None,
        )
    )


def gpt():
    torch.manual_seed(0)
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=WORDS,
            n_positions=32,
            n_embd=16,
            n_layer=1,
            n_head=2,
            attn_pdrop=0.0,
            embd_pdrop=0.0,
            resid_pdrop=0.0,
            pad_token_id=0,
            eos_token_id=2,
            bos_token_id=2,
        )
    )


def t5():
    torch.manual_seed(0)
    return T5ForConditionalGeneration(
        T5Config(
            vocab_size=WORDS,
            d_model=16,
            d_kv=8,
            d_ff=32,
            num_layers=1,
            num_heads=2,
            dropout_rate=0.0,
            pad_token_id=0,
            eos_token_id=2,
            decoder_start_token_id=0,
        )
    )


def sentences(count, seed=0, **columns):
    """Rows of 3 to 8 words with a label in 3 classes."""
    draw = random.Random(seed)
    rows = [[draw.randrange(3, WORDS) for _ in range(draw.randint(3, 8))] for _ in range(count)]
    return datasets.Dataset.from_dict(
        {
            "input_ids": rows,
            "attention_mask": [[1] * len(row) for row in rows],
            "label": [draw.randrange(3) for _ in rows],
            **columns,
        }
    )


def arguments(folder, kind=TrainingArguments, **settings):
    settings = {
        "per_device_train_batch_size": 4,
        "num_train_epochs": 1,
        "learning_rate": 0.1,
        "optim": "sgd",
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "train_sampling_strategy": "sequential",
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "bf16": False,  # by default TRL has it on
        **settings,
    }
    return kind(str(folder), **settings)


class Gradients(TrainerCallback):
    """Keeps the gradients of each optimiser step."""

    def __init__(self):
        self.steps = []

    def on_pre_optimizer_step(self, args, state, control, model=None, **others):
        self.steps.append(
            {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        )


def gradients_of(model):
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found
