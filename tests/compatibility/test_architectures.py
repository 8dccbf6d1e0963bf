"""Architectures of many kinds: scores equal those of one plain backward pass a sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.compatibility import architectures as ours
from tests.compatibility.comparing import Tried, exact
from tests.compatibility.frameworks import need
from tests.device import accelerators

C, TRUSTED, CLASSES = 5, 4, 3
DOUBLE_BACKWARD = "exact, by double backward"
TRIED: list[Any] = []


def tried(
    what: str,
    result: str = "exact",
    *,
    note: str = "",
    tolerance: float = 1e-6,
    needs: str = "",
    marks: Sequence[Any] = (),
):
    """Add a function that makes a `Tried` to those that are compared."""
    rows = [pytest.mark.compatibility("architecture", what, result, note)]
    if needs:
        about_models = "the architectures above that name it"
        rows.append(pytest.mark.compatibility("framework", needs, "exact", about_models))

    def add(make: Callable[[], Tried]) -> Callable[[], Tried]:
        about = {"id": make.__name__, "marks": [*rows, *marks]}
        TRIED.append(pytest.param(make, needs, result, tolerance, **about))
        return make

    return add


def classify(model: nn.Module, batch: Any) -> Tensor:
    *inputs, target = batch
    return F.cross_entropy(model(*inputs), target, reduction="none")


def logits(model: nn.Module, batch: Any) -> Tensor:
    """Hugging Face's models return an object."""
    inputs, target = batch
    return F.cross_entropy(model(**inputs).logits, target, reduction="none")


def labels(count: int, *shape: int) -> Tensor:
    return torch.randint(CLASSES, (count, *shape))


def images(model: nn.Module, last: str, *shape: int) -> Tried:
    pair = [(torch.randn(n, *shape).double(), labels(n)) for n in (C, TRUSTED)]
    return Tried(model.double(), classify, *pair, last)


def voxels(model: nn.Module, last: str | None, *shape: int) -> Tried:
    def losses(model: nn.Module, batch: Any) -> Tensor:
        output = model(batch[0])
        output = output[:, 0] if output.dim() > len(shape) + 1 else output  # deep supervision
        return F.cross_entropy(output, batch[1], reduction="none").flatten(1).mean(1)

    pair = [(torch.randn(n, *shape).double(), labels(n, *shape[1:])) for n in (3, 2)]
    return Tried(model.double(), losses, *pair, last)


def words(model: nn.Module, last: str, **more: Callable[[int], Tensor]) -> Tried:
    def batch(n: int) -> Any:
        mask = torch.ones(n, 6, dtype=torch.long)
        mask[0, 4:] = 0
        inputs = {"input_ids": torch.randint(1, 30, (n, 6)), "attention_mask": mask}
        return inputs | {name: make(n) for name, make in more.items()}, labels(n)

    pair = [batch(n) for n in (C, TRUSTED)]
    return Tried(model.double().train(), logits, *pair, last)


# Written here ------------------------------------------------------------------------------------


def sentences(model: nn.Module) -> Tried:
    pair = [(torch.randint(11, (n, 6)), labels(n)) for n in (C, TRUSTED)]
    return Tried(model, classify, *pair, "head")


BY_CUDNN = pytest.mark.skipif(
    bool(accelerators()),
    reason="cuDNN's recurrent layers have no forward-mode rule and no second derivative",
)


@tried("LSTM", marks=[BY_CUDNN])
def lstm() -> Tried:
    return sentences(ours.Recurrent(nn.LSTM).double())


@tried(
    "LSTM in float32",
    DOUBLE_BACKWARD,
    note="on a CPU its kernel has no forward-mode rule",
    tolerance=1e-5,
    marks=[
        BY_CUDNN,
        pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="needs oneDNN"),
    ],
)
def lstm_float32() -> Tried:
    return sentences(ours.Recurrent(nn.LSTM))


@tried("GRU", marks=[BY_CUDNN])
def gru() -> Tried:
    return sentences(ours.Recurrent(nn.GRU).double())


@tried(
    "GRU on packed sequences",
    DOUBLE_BACKWARD,
    note="packing has no forward-mode rule",
    marks=[BY_CUDNN],
)
def packed_gru() -> Tried:
    pair = [(torch.randint(11, (n, 6)), torch.randint(2, 7, (n,)), labels(n)) for n in (C, TRUSTED)]
    return Tried(ours.Packed().double(), classify, *pair, "head")


@tried("Mixture of experts, top 2 of 4")
def mixture_of_experts() -> Tried:
    return images(ours.MixtureOfExperts(), "head", 6)


@tried("Diffusion U-Net with time embedding and attention")
def denoiser() -> Tried:
    def losses(model: nn.Module, batch: Any) -> Tensor:
        image, noise, time = batch
        noised = time[:, None, None, None] * image + noise
        return F.mse_loss(model(noised, time), noise, reduction="none").flatten(1).mean(1)

    pair = [
        (torch.randn(n, 1, 8, 8).double(), torch.randn(n, 1, 8, 8).double(), torch.rand(n).double())
        for n in (C, TRUSTED)
    ]
    return Tried(ours.Denoiser().double(), losses, *pair, "out")


@tried("Tabular MLP with batch normalisation and dropout")
def tabular() -> Tried:
    pair = [(torch.randint(7, (n,)), torch.randn(n, 5).double(), labels(n)) for n in (C, TRUSTED)]
    return Tried(ours.Tabular().double(), classify, *pair, "head")


@tried("Graph convolution, one sample a node")
def graph_of_samples() -> Tried:
    pair = [
        (torch.randn(n, 4).double(), torch.randint(n, (2, 3 * n)), labels(n)) for n in (C, TRUSTED)
    ]
    return Tried(ours.GraphConvolution().double(), classify, *pair, "second")


@tried("Graph attention, one sample a graph")
def batch_of_graphs() -> Tried:
    def batch(n: int) -> Any:
        edges = torch.randint(4, (2, 8 * n)) + 4 * torch.arange(n).repeat_interleave(8)
        graph = torch.arange(n).repeat_interleave(4)
        loops = torch.arange(4 * n).expand(2, -1)
        nodes = torch.randn(4 * n, 4).double()
        return nodes, torch.cat([edges, loops], 1), graph, labels(n)

    return Tried(ours.GraphAttention().double(), classify, batch(C), batch(TRUSTED), "head")


@tried("One layer under two names, and thrice in a list")
def named_twice() -> Tried:
    return images(ours.NamedTwice(), "head", 6)


# torchvision, timm -------------------------------------------------------------------------------


@tried("ResNet-18 (torchvision)", needs="torchvision")
def resnet18() -> Tried:
    from torchvision.models import resnet18

    return images(resnet18(num_classes=CLASSES), "fc", 3, 32, 32)


@tried("MobileNetV3 (torchvision)", needs="torchvision")
def mobilenet() -> Tried:
    from torchvision.models import mobilenet_v3_small

    return images(mobilenet_v3_small(num_classes=CLASSES), "classifier.3", 3, 32, 32)


@tried("DenseNet with checkpointing (torchvision)", needs="torchvision")
def densenet() -> Tried:
    from torchvision.models import DenseNet

    model = DenseNet(4, (2, 2), 8, bn_size=2, num_classes=CLASSES, memory_efficient=True)
    return images(model, "classifier", 3, 32, 32)


@tried("Swin transformer (torchvision)", needs="torchvision")
def swin() -> Tried:
    from torchvision.models import SwinTransformer

    model = SwinTransformer(
        [4, 4], 8, [1, 1], [2, 2], [4, 4], stochastic_depth_prob=0.2, num_classes=CLASSES
    )
    return images(model, "head", 3, 32, 32)


@tried("Vision transformer (timm)", needs="timm")
def timm_vit() -> Tried:
    from timm.models.vision_transformer import VisionTransformer

    model = VisionTransformer(
        img_size=16, patch_size=8, embed_dim=12, depth=2, num_heads=2, num_classes=CLASSES
    )
    return images(model, "head", 3, 16, 16)


@tried("ConvNeXt with stochastic depth (timm)", needs="timm")
def timm_convnext() -> Tried:
    from timm.models.convnext import ConvNeXt

    model = ConvNeXt(
        depths=(1, 1, 1, 1), dims=(4, 4, 8, 8), drop_path_rate=0.3, num_classes=CLASSES
    )
    return images(model, "head.fc", 3, 32, 32)


@tried("EfficientNet (timm)", needs="timm")
def timm_efficientnet() -> Tried:
    from timm import create_model

    return images(create_model("efficientnet_b0", num_classes=CLASSES), "classifier", 3, 32, 32)


# transformers, PEFT ------------------------------------------------------------------------------

TINY = {
    "vocab_size": 30,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "num_labels": CLASSES,
}


@tried("BERT (transformers)", needs="transformers")
def bert() -> Tried:
    from transformers import BertConfig, BertForSequenceClassification

    model = BertForSequenceClassification(BertConfig(**TINY, max_position_embeddings=8))
    return words(model, "classifier")


TIED_NORMS = "norms are those of the output layer's use of the tied weights"


@tried("GPT-2, tied embeddings (transformers)", needs="transformers", note=TIED_NORMS)
def gpt2() -> Tried:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=30, n_embd=16, n_layer=2, n_head=2, n_positions=8, bos_token_id=0, eos_token_id=0
    )

    def losses(model: nn.Module, batch: Any) -> Tensor:
        ids = batch["input_ids"]
        found = model(input_ids=ids, use_cache=False).logits[:, :-1].transpose(1, 2)
        return F.cross_entropy(found, ids[:, 1:], reduction="none").mean(1)

    pair = [{"input_ids": torch.randint(30, (n, 6))} for n in (C, TRUSTED)]
    return Tried(GPT2LMHeadModel(config).double().train(), losses, *pair, None)


def llama_model() -> nn.Module:
    from transformers import LlamaConfig, LlamaForSequenceClassification

    config = LlamaConfig(**TINY, num_key_value_heads=1, max_position_embeddings=8, pad_token_id=0)
    return LlamaForSequenceClassification(config)


@tried("Llama, grouped queries (transformers)", needs="transformers", tolerance=1e-5)
def llama() -> Tried:
    return words(llama_model(), "score")


@tried("T5, tied (transformers)", needs="transformers", tolerance=1e-5, note=TIED_NORMS)
def t5() -> Tried:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=30, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2, use_cache=False
    )

    def losses(model: nn.Module, batch: Any) -> Tensor:
        ids, target = batch
        found = model(input_ids=ids, decoder_input_ids=target).logits.transpose(1, 2)
        return F.cross_entropy(found, target, reduction="none").mean(1)

    pair = [(torch.randint(30, (n, 6)), torch.randint(30, (n, 4))) for n in (C, TRUSTED)]
    return Tried(T5ForConditionalGeneration(config).double().train(), losses, *pair, None)


@tried("Vision transformer (transformers)", needs="transformers")
def vit() -> Tried:
    from transformers import ViTConfig, ViTForImageClassification

    tiny = {name: value for name, value in TINY.items() if name != "vocab_size"}
    model = ViTForImageClassification(ViTConfig(**tiny, image_size=16, patch_size=8))

    pair = [({"pixel_values": torch.randn(n, 3, 16, 16).double()}, labels(n)) for n in (C, TRUSTED)]
    return Tried(model.double().train(), logits, *pair, "classifier")


@tried("LoRA on Llama (PEFT)", needs="peft", tolerance=1e-5, note="most parameters are frozen")
def lora() -> Tried:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        task_type="SEQ_CLS", r=2, lora_dropout=0.1, target_modules=["q_proj", "v_proj"]
    )
    model = get_peft_model(llama_model(), config)
    for name, p in model.named_parameters():
        if "lora_B" in name:  # zero at first, when nothing reaches the other factor
            nn.init.normal_(p)
    return words(model, "base_model.model.score.modules_to_save.default")


# MONAI -------------------------------------------------------------------------------------------


@tried("UNet, 3D (MONAI)", needs="monai")
def monai_unet() -> Tried:
    from monai.networks.nets import UNet

    model = UNet(3, 1, CLASSES, (4, 8, 8), (2, 2), num_res_units=1, norm="batch")
    return voxels(model, "model.2.1.conv.unit0.conv", 1, 8, 8, 8)


@tried("DynUNet, deep supervision (MONAI)", needs="monai")
def monai_dynunet() -> Tried:
    from monai.networks.nets import DynUNet

    model = DynUNet(
        *(2, 1, CLASSES, [3, 3, 3], [1, 2, 2], [2, 2]), filters=[4, 8, 8], deep_supervision=True
    )
    return voxels(model, None, 1, 16, 16)


@tried("SegResNet (MONAI)", needs="monai")
def monai_segresnet() -> Tried:
    from monai.networks.nets import SegResNet

    model = SegResNet(3, 8, 1, CLASSES, 0.2, blocks_down=(1, 1), blocks_up=(1,))
    return voxels(model, "conv_final.2.conv", 1, 8, 8, 8)


# -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "needs", "result", "tolerance"), TRIED)
def test_scores_are_those_of_one_backward_pass_a_sample(make, needs, result, tolerance):
    if needs:
        need(needs)
    warned = exact(make(), tolerance)
    assert [message for message in warned if "double_backward" not in message] == []
    assert bool(warned) == (result == DOUBLE_BACKWARD), warned
