"""The networks are what their names say, and the library's scores of them are exact."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.gpu.cells import SMALLEST
from benchmarks.meta_step import registry
from benchmarks.meta_step.models import MODELS, Setup, build_problem
from benchmarks.meta_step.networks import ResNet18, UNet
from benchmarks.meta_step.networks.llama import RMSNorm, _rotated
from benchmarks.meta_step.networks.unet import batch_norm
from reweight import GradientSimilarity, MetaReweighter

WORDS, GPT2_WORDS = 5000, 50257


def block(dim: int, biases: int, norms: int, hidden: int) -> int:
    """Parameters of attention and of a hidden layer."""
    return 4 * dim * dim + 2 * dim * hidden + biases + norms


GPT2_BODY = 64 * 128 + 2 * block(128, 9 * 128, 4 * 128, 512) + 2 * 128
VIT_BLOCKS = 4 * block(192, 9 * 192, 4 * 192, 768)
BERT_EMBEDDINGS = (WORDS + 64 + 2 + 2) * 128
LLAMA_TINY_BLOCK = 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64 + 2 * 32
LLAMA_BLOCK = 2 * 256 * 256 + 2 * 256 * 128 + 3 * 256 * 688 + 2 * 256
LORA_BLOCK = 8 * (256 + 256) + 8 * (256 + 128)
CONVNEXT_LEVELS = sum(
    depth * (49 * n + n + 2 * n + 8 * n * n + 5 * n + n)
    for n, depth in zip((24, 48, 96, 192), (1, 1, 3, 1), strict=True)
)
CONVNEXT_BETWEEN = sum(2 * n + 4 * n * 2 * n + 2 * n for n in (24, 48, 96))

PARAMETERS = {
    "unet": 4_806_481,
    "resnet18": 11_182_538,
    "mlp-small": 20 * (16 * 16 + 16) + 16 * 10 + 10,
    "unet-groupnorm": 4_808_917,  # with scales and shifts
    "gpt2": WORDS * 128 + GPT2_BODY,  # the output embedding is the input's
    "gpt2-large-vocabulary": GPT2_WORDS * 128 + GPT2_BODY,
    "bert": BERT_EMBEDDINGS
    + 2 * block(128, 9 * 128, 4 * 128, 512)
    + 128 * 128
    + 128
    + 128 * 10
    + 10,
    "vit": 3 * 64 * 192 + 192 + 192 + 65 * 192 + VIT_BLOCKS + 2 * 192 + 192 * 10 + 10,
    "convnext": 3 * 16 * 24
    + 24
    + 2 * 24
    + CONVNEXT_LEVELS
    + CONVNEXT_BETWEEN
    + 2 * 192
    + 192 * 10
    + 10,
    "llama-lora": 2 * WORDS * 256 + 4 * (LLAMA_BLOCK + LORA_BLOCK) + 256,
    "llama-tiny": 2 * 100 * 32 + 4 * LLAMA_TINY_BLOCK + 32,
}
OUTPUTS = {
    "unet": (2, 2, 32, 32, 32),
    "unet-groupnorm": (2, 2, 16, 16, 16),
    "gpt2": (2, 5, WORDS),
    "gpt2-large-vocabulary": (2, 3, GPT2_WORDS),
    "llama-lora": (2, 5, WORDS),
    "llama-tiny": (2, 5, 100),
}


def problem_of(model: str, **options):
    return build_problem(Setup(model, SMALLEST[model], 2, 3, **options))


@pytest.mark.parametrize("model", PARAMETERS)
def test_a_model_has_the_parameters_of_its_description(model):
    problem = build_problem(Setup(model, MODELS[model].size, 1, 1))
    assert sum(p.numel() for p in problem.module.parameters()) == PARAMETERS[model]


@pytest.mark.parametrize("model", MODELS)
def test_outputs_and_losses_have_their_shapes(model):
    problem = problem_of(model)
    output = problem.module(problem.noisy[0])
    assert output.shape == OUTPUTS.get(model, (2, 10))
    losses = problem.losses(lambda _: output, problem.noisy)
    assert losses.shape == (2,)
    assert losses.isfinite().all()


@pytest.mark.parametrize("model", [name for name in MODELS if MODELS[name].loss])
def test_the_loss_of_a_text_is_the_mean_cross_entropy_of_its_tokens(model):
    problem = problem_of(model, dtype="float64")
    words, following = problem.noisy
    assert torch.equal(words[:, 1:], following[:, :-1])
    logits = problem.module(words)
    expected = [
        torch.stack([-row[k].log_softmax(0)[int(following[i, k])] for k in range(len(row))]).mean()
        for i, row in enumerate(logits)
    ]
    torch.testing.assert_close(
        problem.losses(lambda _: logits, problem.noisy), torch.stack(expected)
    )


@pytest.mark.parametrize("model", ["gpt2", "llama-lora", "llama-tiny"])
def test_a_language_model_looks_back_alone_and_knows_places(model):
    problem = problem_of(model, dtype="float64")
    words = problem.noisy[0].clone()
    before = problem.module(words)
    words[:, 3] = (words[:, 3] + 1) % 100
    after = problem.module(words)
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 4], after[:, 4])
    words[:, 0], words[:, 1] = words[:, 1].clone(), words[:, 0].clone()
    assert not torch.allclose(problem.module(words)[:, 4], after[:, 4])


def test_gpt2_reads_and_writes_by_one_embedding():
    module = problem_of("gpt2").module
    assert module.head.weight is module.words.weight


def test_of_the_model_with_lora_the_adapters_of_q_and_v_alone_train():
    problem = problem_of("llama-lora")
    names = {name for name, p in problem.module.named_parameters() if p.requires_grad}
    assert names == {
        f"blocks.{i}.attention.{layer}.{factor}.weight"
        for i in range(4)
        for layer in "qv"
        for factor in "ab"
    }
    ranks = {p.shape[0] for n, p in problem.module.named_parameters() if n.endswith("a.weight")}
    assert ranks == {8}
    assert [len(group["params"]) for group in problem.optimizer.param_groups] == [16]


def test_rotary_scores_depend_on_the_distance_alone():
    module = problem_of("llama-tiny", dtype="float64").module
    cos, sin = module._angles(9, torch.zeros(1, dtype=torch.float64))
    query, key = torch.randn(2, 8, dtype=torch.float64)
    turned = [_rotated(x, cos, sin) for x in (query, key)]
    products = turned[0] @ turned[1].mT
    for distance in range(1, 4):
        along = products.diagonal(distance)
        torch.testing.assert_close(along, along[:1].expand_as(along), rtol=1e-5, atol=1e-5)


def test_rms_norm_is_pytorchs():
    tokens = torch.randn(3, 8, dtype=torch.float64)
    expected = F.rms_norm(tokens, (8,), eps=1e-5)
    torch.testing.assert_close(RMSNorm(8).double()(tokens), expected)


def test_bert_drops_at_random_in_training_and_not_otherwise():
    problem = problem_of("bert")
    dropped = [problem.module(problem.noisy[0]) for _ in range(2)]
    assert not torch.equal(*dropped)
    problem.module.eval()
    assert torch.equal(*[problem.module(problem.noisy[0]) for _ in range(2)])
    assert {m.p for m in problem.module.modules() if isinstance(m, nn.Dropout)} == {0.1}


@pytest.mark.parametrize(
    ("model", "own", "shape"),
    [
        ("unet", lambda: UNet(batch_norm), (2, 1, 32, 32, 32)),
        ("resnet18", lambda: ResNet18(10), (2, 3, 32, 32)),
    ],
)
def test_without_monai_the_network_is_the_same(model, own, shape, monkeypatch):
    pytest.importorskip("monai")
    theirs = problem_of(model, dtype="float64").module
    ours = own().double()
    inputs = torch.randn(shape, dtype=torch.float64)
    _copy(theirs, ours, inputs)
    torch.testing.assert_close(ours(inputs), theirs(inputs))
    for name in [name for name in sys.modules if name.split(".")[0] == "monai"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "support.unet", None)
    assert type(getattr(registry, f"_{model}")(32)) is type(ours)


def _copy(theirs: nn.Module, ours: nn.Module, inputs: torch.Tensor) -> None:
    """By kind and shape, in the order of the pass, which is that of neither's names."""
    order: dict[str, list[list[torch.Tensor]]] = {"theirs": [], "ours": []}
    handles = []
    for name, network in (("theirs", theirs), ("ours", ours)):
        for module in network.modules():
            own = [*module.parameters(recurse=False)]
            if own:

                def note(_module, _inputs, own=own, name=name):
                    order[name].append(own)

                handles.append(module.register_forward_pre_hook(note))
        network(inputs)
    for handle in handles:
        handle.remove()
    with torch.no_grad():
        for source, target in zip(order["theirs"], order["ours"], strict=True):
            for a, b in zip(source, target, strict=True):
                b.copy_(a)


@pytest.mark.parametrize("model", MODELS)
def test_scores_of_every_model_are_those_of_plain_backward_passes(model):
    problem = problem_of(model, dtype="float64")
    reweighter = MetaReweighter(problem.module, problem.loss, scorer=GradientSimilarity())
    for _ in range(2):
        torch.manual_seed(1)
        before = {name: value.clone() for name, value in problem.module.state_dict().items()}
        scores = reweighter(problem.noisy, problem.trusted).scores["gradient_similarity"]
        problem.module.load_state_dict(before)
    torch.manual_seed(1)
    trusted = torch.autograd.grad(
        problem.losses(problem.module, problem.trusted).mean(), problem.trainable
    )
    torch.manual_seed(1)
    problem.module.load_state_dict(before)
    losses = problem.losses(problem.module, problem.noisy)
    expected = [
        sum(
            (a * b).sum()
            for a, b in zip(
                torch.autograd.grad(loss, problem.trainable, retain_graph=True),
                trusted,
                strict=True,
            )
        )
        for loss in losses
    ]
    torch.testing.assert_close(scores, torch.stack(expected).detach(), rtol=1e-8, atol=1e-12)
