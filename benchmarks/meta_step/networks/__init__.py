"""The networks that steps are measured on, in plain PyTorch: a machine needs no other library."""

from benchmarks.meta_step.networks.bert import Bert
from benchmarks.meta_step.networks.convnext import ConvNeXt
from benchmarks.meta_step.networks.gpt2 import GPT2
from benchmarks.meta_step.networks.llama import Llama
from benchmarks.meta_step.networks.lora import add_lora
from benchmarks.meta_step.networks.resnet import ResNet18
from benchmarks.meta_step.networks.transformer import Transformer, build_mlp
from benchmarks.meta_step.networks.unet import UNet
from benchmarks.meta_step.networks.vit import ViT

__all__ = [
    "GPT2",
    "Bert",
    "ConvNeXt",
    "Llama",
    "ResNet18",
    "Transformer",
    "UNet",
    "ViT",
    "add_lora",
    "build_mlp",
]
