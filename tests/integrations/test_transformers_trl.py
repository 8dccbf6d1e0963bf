"""TRL's SFTTrainer and DPOTrainer with weighted samples."""
# ruff: noqa: E402 - what is missing is skipped before it is imported

from __future__ import annotations

import pytest
import torch

from tests.compatibility.frameworks import need

for _name in ("transformers", "datasets", "accelerate", "trl"):
    need(_name)

import datasets
from torch.nn import functional as F
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from reweight import GradientSimilarity, MetaReweighter, SampleWeights, Uniform
from reweight.integrations.transformers import ReweightMixin
from tests.integrations.tiny_transformers import (
    WORDS,
    Gradients,
    arguments,
    gradients_of,
    llama,
    tokenizer,
)


class WeightedSFT(ReweightMixin, SFTTrainer):
    pass


class WeightedDPO(ReweightMixin, DPOTrainer):
    pass


def text(draw, least=3, most=8):
    count = int(torch.randint(least, most, (), generator=draw))
    words = torch.randint(3, WORDS, (count,), generator=draw).tolist()
    return " ".join(f"w{word}" for word in words)


def texts(count, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return datasets.Dataset.from_dict({"text": [text(draw) for _ in range(count)]})


def pairs(count, seed=0):
    draw = torch.Generator().manual_seed(seed)
    rows = [
        {"prompt": text(draw) + " ", "chosen": text(draw), "rejected": text(draw)}
        for _ in range(count)
    ]
    return datasets.Dataset.from_list(rows)


def sft(folder, kind=WeightedSFT, *, settings=None, **others):
    if kind is WeightedSFT:
        others = {"trusted_dataset": texts(6, seed=1), "trusted_batch_size": 6, **others}
    return kind(
        llama(),
        args=arguments(folder, SFTConfig, **(settings or {})),
        train_dataset=texts(12),
        processing_class=tokenizer(),
        **others,
    )


def dpo(folder, kind=WeightedDPO, *, settings=None, model=None, **others):
    if kind is WeightedDPO:
        others = {"trusted_dataset": pairs(6, seed=1), "trusted_batch_size": 6, **others}
    return kind(
        llama() if model is None else model,
        args=arguments(folder, DPOConfig, **(settings or {})),
        train_dataset=pairs(12),
        processing_class=tokenizer(),
        **others,
    )


def parameters_after(trainer):
    trainer.train()
    return {n: p.detach().clone() for n, p in trainer.model.named_parameters()}


def collated(dataset):
    """Return the batch that SFTTrainer makes of texts, made by hand."""
    vocabulary = tokenizer()
    rows = [[*vocabulary(row)["input_ids"], vocabulary.eos_token_id] for row in dataset["text"]]
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return {"input_ids": ids, "attention_mask": mask}


def next_word_losses(model, batch):
    logits = model(**batch).logits[:, :-1]
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)[:, 1:]
    return F.cross_entropy(logits.transpose(1, 2), labels, reduction="none"), labels != -100


@pytest.mark.parametrize("granularity", ["sample", "element"])
def test_sft_gradients_are_those_of_the_plain_loop(tmp_path, granularity):
    gradients = Gradients()
    trainer = sft(
        tmp_path,
        reweighter={"granularity": granularity, "trusted_coefficient": 0.1},
        callbacks=[gradients],
        settings={"gradient_accumulation_steps": 3},
    )
    trainer.train()
    model = llama().train()
    reweighter = MetaReweighter(
        model, forward=next_word_losses, granularity=granularity, trusted_coefficient=0.1
    )
    trusted = collated(texts(6, seed=1))
    for start in range(0, 12, 4):
        batch = collated(texts(12).select(range(start, start + 4)))
        (reweighter(batch, trusted).loss / 3).backward()
    expected = gradients_of(model)
    assert gradients.steps[0].keys() == expected.keys()
    for name, value in gradients.steps[0].items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("packing", [False, True])
def test_sft_with_equal_weights_of_tokens_trains_as_without(tmp_path, packing):
    settings = {"packing": packing, "max_length": 12, "num_train_epochs": 2}
    expected = parameters_after(sft(tmp_path, SFTTrainer, settings=settings))
    weighted = sft(
        tmp_path, settings=settings, reweighter={"scorer": Uniform(), "granularity": "element"}
    )
    for name, value in parameters_after(weighted).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5)


def test_packed_tokens_are_weighed_and_packed_samples_refused(tmp_path):
    settings = {"packing": True, "max_length": 12}
    trainer = sft(tmp_path, settings=settings, reweighter={"granularity": "element"})
    trainer.train()
    assert trainer.last_step.weights.dim() == 2
    with pytest.raises(ValueError, match="packing made new rows"):
        trainer.export_weights()
    with pytest.raises(ValueError, match=r"granularity.*element"):
        sft(tmp_path, settings=settings).train()
    remembering = {"granularity": "element", "weighting": SampleWeights(12)}
    with pytest.raises(ValueError, match="packing makes new rows"):
        sft(tmp_path, settings=settings, reweighter=remembering).train()


def test_tokens_without_padding_are_weighed_and_rows_then_not_known(tmp_path):
    settings = {"padding_free": True, "max_length": None}
    element = {"granularity": "element"}
    trainer = sft(tmp_path, settings=settings, reweighter=element)
    trainer.train()
    assert trainer.last_step.weights.shape[0] == 1
    with pytest.raises(ValueError, match="rows are not known"):
        sft(
            tmp_path, settings=settings, reweighter={**element, "weighting": SampleWeights(12)}
        ).train()
    with pytest.raises(ValueError, match=r"granularity.*element"):
        sft(tmp_path, settings=settings).train()


def test_sft_remembers_rows_as_they_were_given(tmp_path):
    trainer = sft(
        tmp_path,
        reweighter={"weighting": SampleWeights(12)},
        settings={"shuffle_dataset": True, "max_steps": 1},
        eval_dataset={"held out": texts(4, seed=2)},
    )
    trainer.train()
    assert set(trainer.eval_dataset) == {"held out"}
    assert trainer.evaluate()["eval_held out_loss"] > 0
    exported = trainer.export_weights()
    assert exported.column_names == ["text", "weight"]
    weights = torch.tensor(exported["weight"][:])
    moved = [
        row for row, weight in enumerate(weights.tolist()) if abs(weight - weights.median()) > 1e-6
    ]
    first = [trainer.train_dataset[i]["reweight_row"] for i in range(4)]
    assert first != [0, 1, 2, 3]
    assert sorted(first) == moved


def pair_losses(reference, beta=0.1):
    """−log σ(β · difference of log-ratios), from the words of each pair."""

    def answers(model, batch):
        labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)[:, 1:]
        inputs = {k: batch[k] for k in ("input_ids", "attention_mask")}
        logits = model(**inputs).logits[:, :-1].transpose(1, 2)
        return -F.cross_entropy(logits, labels, reduction="none").sum(1)

    def losses(model, batch):
        with torch.no_grad():
            before = answers(reference, batch)
        chosen, rejected = (answers(model, batch) - before).chunk(2)
        found = -F.logsigmoid(beta * (chosen - rejected))
        return found, torch.ones_like(found, dtype=torch.bool)

    return losses


@pytest.mark.parametrize("precomputed", [False, True])
def test_dpo_gradients_are_those_of_the_plain_loop(tmp_path, precomputed):
    gradients = Gradients()
    reference = llama(seed=5).eval()
    trainer = dpo(
        tmp_path,
        ref_model=llama(seed=5),
        reweighter={"weighting": SampleWeights(12), "scorer": GradientSimilarity("forward")},
        callbacks=[gradients],
        settings={"gradient_accumulation_steps": 3, "precompute_ref_log_probs": precomputed},
    )
    trainer.train()
    loader = [dict(batch) for batch in trainer.get_train_dataloader()]
    model = llama().train()
    reweighter = MetaReweighter(
        model,
        forward=pair_losses(reference),
        weighting=SampleWeights(12),
        scorer=GradientSimilarity("forward"),
    )
    trusted = trainer.data_collator([trainer._weighing.trusted[i] for i in range(6)])
    for batch in loader:
        ids = batch.pop("reweight_row")
        (reweighter(batch, dict(trusted), ids=ids).loss / 3).backward()
    expected = gradients_of(model)
    for name, value in gradients.steps[0].items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(
        trainer.reweighter.weighting.weights, reweighter.weighting.weights, rtol=1e-4, atol=1e-5
    )


def test_dpo_with_equal_weights_trains_as_without(tmp_path):
    settings = {"num_train_epochs": 2, "gradient_accumulation_steps": 2}
    expected = parameters_after(dpo(tmp_path, DPOTrainer, ref_model=llama(5), settings=settings))
    weighted = dpo(
        tmp_path, ref_model=llama(5), settings=settings, reweighter={"scorer": Uniform()}
    )
    for name, value in parameters_after(weighted).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-6)


def test_dpo_of_adapters_takes_the_model_without_them_as_the_reference(tmp_path):
    need("peft")
    from peft import LoraConfig

    adapters = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=True)
    expected = parameters_after(dpo(tmp_path, DPOTrainer, peft_config=adapters))
    weighted = dpo(tmp_path, peft_config=adapters, reweighter={"scorer": Uniform()})
    for name, value in parameters_after(weighted).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-6)
    judged = dpo(tmp_path, peft_config=adapters, reweighter={"trusted_coefficient": 0.1})
    judged.train()
    assert judged.last_step.scores["gradient_similarity"].shape == (4,)


@pytest.mark.parametrize(
    "settings", [{"loss_type": ["hinge"]}, {"use_weighting": True}, {"ld_alpha": 0.5}], ids=str
)
def test_other_losses_of_pairs_are_refused(tmp_path, settings):
    with pytest.raises(ValueError, match=f"sigmoid DPO loss alone.*{next(iter(settings))}"):
        dpo(tmp_path, ref_model=llama(5), settings=settings).train()
