"""What is measured, cut into cells: one model at one size, in one precision, by some methods."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.meta_step.models import MODELS, Setup

CORE = ("plain", "floor", "default", "similarity", "layer-products", "last-layer", "l2r")
"""What says most; every cell measures these first."""

OTHERS = (
    "plain",
    "floor",
    "similarity-fast",
    "similarity-double-backward",
    "training-precision",
    "higher",
    "torchopt-metasgd",
    "betty",
)

COMPILED = ("plain", "default", "similarity")
"""Of these the trained model itself is compiled."""

LIBRARY_COMPILED = ("plain", "compiled")
"""Here the library compiles its own derivatives. While anything is compiled it follows no pass, so
that what is not compiled is measured elsewhere."""

IMPORTANCE = (
    "unet",
    "gpt2",
    "resnet18",
    "vit",
    "llama-tiny",
    "mlp-small",
    "convnext",
    "bert",
    "unet-groupnorm",
    "llama-lora",
    "gpt2-large-vocabulary",
    "transformer",
    "mlp",
)
"""The models, those first without which a table would say least."""

SMALLEST = {
    "unet": 32,
    "resnet18": 32,
    "transformer": 3,
    "mlp": 4,
    "unet-groupnorm": 16,
    "gpt2": 5,
    "gpt2-large-vocabulary": 3,
    "bert": 5,
    "vit": 16,
    "convnext": 32,
    "llama-lora": 5,
    "llama-tiny": 5,
    "mlp-small": 4,
}
"""A size of every model at which it takes no time: what ``--quick`` runs."""

QUICK_BATCH = 2
_COMPILES = ("unet", "gpt2", "mlp-small", "llama-tiny")
_QUICK_COMPILES = ("mlp-small",)
_QUICK_FEW = ("gpt2", "mlp-small", "unet-groupnorm")
"""In a quick run nothing is learnt from measuring all of them once more."""
_VOLUMES = ((48, 16), (96, 4), (96, 16))
_QUICK_VOLUMES = ((32, 3),)


@dataclass(frozen=True)
class Cell:
    """One thing to measure.

    Attributes:
        stage: Which table it belongs to.
        model: Its name in the registry.
        size: As the model means it.
        batch: Noisy samples, and as many trusted ones; ``None``: as many as fill the device.
        methods: Names of the registry, ``plain`` first.
        amp: Dtype of autocast, or ``None``.
        compile: Whether the trained model is compiled.
    """

    stage: str
    model: str
    size: int
    batch: int | None
    methods: tuple[str, ...]
    amp: str | None = None
    compile: bool = False

    @property
    def compiles(self) -> bool:
        """Whether anything is compiled, which takes long and cannot be stopped."""
        return self.compile or "compiled" in self.methods

    @property
    def words(self) -> str:
        """The cell in a few words, without its stage."""
        batch = "as many as fit" if self.batch is None else str(self.batch)
        what = ", ".join(self.methods[-2:]) if self.methods != CORE else ""
        return f"{self.model} {self.size} × {batch}" + (f" (…, {what})" if what else "")

    def as_json(self) -> dict[str, Any]:
        """Return the attributes by name, as JSON gives them back."""
        return {**asdict(self), "methods": list(self.methods)}

    def setup(self, batch: int, device: str) -> Setup:
        """Return what to build."""
        return Setup(
            self.model,
            self.size,
            batch,
            batch,
            device=device,
            amp=self.amp,
            compile=self.compile,
        )


def all_cells(models: Iterable[str] = IMPORTANCE, *, quick: bool = False) -> list[Cell]:
    """Return every cell, in the order in which they are measured.

    Args:
        models: Names, in whatever order.
        quick: Tiny sizes and batches.
    """
    chosen = [name for name in IMPORTANCE if name in set(models)]

    def size(name: str) -> int:
        return SMALLEST[name] if quick else MODELS[name].size

    def small(name: str) -> int:
        return QUICK_BATCH if quick else MODELS[name].batch

    def stage(what: str, names: Sequence[str], **how: Any) -> list[Cell]:
        full = what == "full"
        return [
            Cell(
                f"{_precision(how.get('amp'))}, {'batches that fill' if full else 'small batches'}",
                name,
                size(name),
                None if full else small(name),
                **{"methods": CORE, **how},
            )
            for name in names
        ]

    bf16 = "bfloat16"
    few = [name for name in chosen if name in _QUICK_FEW] if quick else chosen
    cells = []
    for amp, names in ((None, chosen), (bf16, few)):
        cells += stage("small", names, amp=amp)
        cells += _volumes(amp, quick) if "unet" in chosen else []
        cells += stage("full", few, amp=amp)
    for amp in (None, bf16):
        cells += stage("small", few, amp=amp, methods=OTHERS)
    for name in chosen:
        if name in (_QUICK_COMPILES if quick else _COMPILES):
            cells += [
                Cell(stage, name, size(name), small(name), methods, compile=compiled)
                for stage, methods, compiled in (
                    ("the library compiles", LIBRARY_COMPILED, False),
                    ("the model is compiled", COMPILED, True),
                )
            ]
    return cells


def _volumes(amp: str | None, quick: bool) -> list[Cell]:
    return [
        Cell(f"{_precision(amp)}, U-Net by size and batch", "unet", size, batch, CORE, amp)
        for size, batch in (_QUICK_VOLUMES if quick else _VOLUMES)
    ]


def _precision(amp: str | None) -> str:
    return "bf16 autocast" if amp else "float32"
