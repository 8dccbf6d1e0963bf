"""The command line of the benchmark, checked."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.meta_step.methods import ALWAYS, DEFAULT, METHODS
from benchmarks.meta_step.models import MODELS, Setup

_DTYPES = ("float32", "float64", "bfloat16")


@dataclass(frozen=True)
class Options:
    """What to measure.

    Attributes:
        setups: One for each model.
        methods: In the order of the registry, those all are measured against among them.
        rounds: Interleaved rounds that count.
        memory: Whether to measure memory.
        own_allocator: Leave the C library's allocator as it is when measuring resident memory.
        profile: Methods to profile instead of measuring.
        output: Folder to write to.
    """

    setups: tuple[Setup, ...]
    methods: tuple[str, ...]
    rounds: int
    memory: bool
    own_allocator: bool
    profile: tuple[str, ...]
    output: Path | None


def parse(arguments: Sequence[str]) -> Options:
    """Return the options; with a bad one, say so and exit with status 2."""
    parser = _parser()
    found = parser.parse_args(arguments)
    for name in ("batch", "trusted_batch", "rounds", "threads"):
        value = getattr(found, name)
        if value is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, got {value}")
    problem = device_problem(found.device)
    if problem is not None:
        parser.error(problem)
    if found.amp and found.dtype != "float32":
        parser.error(f"--amp casts from float32; leave out --dtype {found.dtype}")
    if found.output is not None and found.output.exists() and not found.output.is_dir():
        parser.error(f"--output must be a folder, and {found.output} is a file")
    if found.size is not None:
        if found.model == "all":
            parser.error("--size means something else for each model; give one --model with it")
        wanted = MODELS[found.model].wants(found.size)
        if wanted is not None:
            parser.error(f"--size of {found.model} must be {wanted}; got {found.size}")
    names = list(MODELS) if found.model == "all" else [found.model]
    wanted_methods = {*ALWAYS, *found.methods}
    return Options(
        setups=tuple(_setup(name, found) for name in names),
        methods=tuple(name for name in METHODS if name in wanted_methods),
        rounds=found.rounds,
        memory=not found.no_memory,
        own_allocator=found.own_allocator,
        profile=tuple(found.profile),
        output=found.output,
    )


def _setup(name: str, found: argparse.Namespace) -> Setup:
    model = MODELS[name]
    batch = found.batch or model.batch
    return Setup(
        model=name,
        size=found.size or model.size,
        batch=batch,
        trusted_batch=found.trusted_batch or batch,
        device=found.device,
        dtype=found.dtype,
        amp=found.amp,
        compile=found.compile,
        seed=found.seed,
        threads=found.threads,
    )


def device_problem(name: str) -> str | None:
    """Return what is wrong with a device of that name, or ``None``."""
    try:
        device = torch.device(name)
    except RuntimeError:
        return f"--device must be cpu, cuda or cuda:N, got {name!r}"
    if device.type not in ("cpu", "cuda"):
        return f"--device must be cpu, cuda or cuda:N, got {name!r}"
    if device.type == "cuda" and not torch.cuda.is_available():
        return f"--device {name}: this PyTorch ({torch.__version__}) finds no CUDA device; use cpu"
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        return f"--device {name}: there are {torch.cuda.device_count()} CUDA devices, from cuda:0"
    return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.meta_step",
        description="Time and peak memory of one whole training step, for every way to take it.",
    )
    parser.add_argument("--model", default="unet", choices=[*MODELS, "all"], help="(unet)")
    parser.add_argument(
        "--size",
        type=int,
        help="side in voxels or pixels, tokens, or width: "
        + ", ".join(f"{name} ({model.size})" for name, model in MODELS.items()),
    )
    parser.add_argument("--batch", type=int, help="noisy samples, C_p (the model's own default)")
    parser.add_argument("--trusted-batch", type=int, help="trusted samples, C_v (as many)")
    parser.add_argument(
        "--methods",
        nargs="+",
        default=list(DEFAULT),
        choices=list(METHODS),
        metavar="METHOD",
        help=f"which to measure beside {' and '.join(ALWAYS)} (all but the ideas): "
        f"{', '.join(METHODS)}",
    )
    parser.add_argument("--rounds", type=int, default=15, help="interleaved rounds that count (15)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (cpu)")
    parser.add_argument("--dtype", default="float32", choices=_DTYPES, help="(float32)")
    parser.add_argument("--amp", choices=("bfloat16", "float16"), help="autocast to this dtype")
    parser.add_argument("--compile", action="store_true", help="train torch.compile(model)")
    parser.add_argument("--seed", type=int, default=0, help="(0)")
    parser.add_argument("--threads", type=int, help="CPU threads (PyTorch's choice)")
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help="write result.json, table.md and a plot"
    )
    parser.add_argument("--no-memory", action="store_true", help="measure time alone")
    parser.add_argument(
        "--own-allocator",
        action="store_true",
        help="leave the C library's allocator as it is when measuring resident memory",
    )
    parser.add_argument(
        "--profile",
        nargs="+",
        default=[],
        choices=list(METHODS),
        metavar="METHOD",
        help="print where the time of these and of plain goes, and measure nothing else",
    )
    return parser
