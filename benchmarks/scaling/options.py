"""The command line, checked."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.meta_step.methods import METHODS
from benchmarks.meta_step.options import device_problem
from benchmarks.scaling.axes import AXES

DEFAULT_METHODS = ("plain", "floor", "default", "similarity", "last-layer", "l2r")


@dataclass(frozen=True)
class Options:
    """What to measure.

    Attributes:
        values: By axis, ascending.
        methods: ``plain`` first.
        rounds: Interleaved rounds that count.
        device: As ``torch.device`` reads it.
        seed: Of weights, data and the order of steps.
        threads: CPU threads, or ``None`` for PyTorch's own choice.
        output: Folder to write to.
    """

    values: dict[str, tuple[int, ...]]
    methods: tuple[str, ...]
    rounds: int
    device: str
    seed: int
    threads: int | None
    output: Path | None


def parse(arguments: Sequence[str]) -> Options:
    """Return the options; with a bad one, say so and exit with status 2."""
    parser = _parser()
    found = parser.parse_args(arguments)
    for name in ("rounds", "threads"):
        value = getattr(found, name)
        if value is not None and value < 1:
            parser.error(f"--{name} must be at least 1, got {value}")
    if found.values and len(found.axes) != 1:
        parser.error("--values are those of one axis; give that axis with --axes")
    if found.values and min(found.values) < 1:
        parser.error(f"--values must be at least 1, got {min(found.values)}")
    problem = device_problem(found.device)
    if problem is not None:
        parser.error(problem)
    if found.output is not None and found.output.exists() and not found.output.is_dir():
        parser.error(f"--output must be a folder, and {found.output} is a file")
    return Options(
        values={
            name: tuple(sorted(set(found.values or AXES[name].values)))
            for name in AXES
            if name in found.axes
        },
        methods=tuple(name for name in METHODS if name == "plain" or name in found.methods),
        rounds=found.rounds,
        device=found.device,
        seed=found.seed,
        threads=found.threads,
        output=found.output,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling",
        description="How the time of a step grows with batches, parameters and depth.",
    )
    parser.add_argument(
        "--axes", nargs="+", default=list(AXES), choices=list(AXES), metavar="AXIS",
        help=f"what to vary (all): {', '.join(AXES)}",
    )  # fmt: skip
    parser.add_argument(
        "--values", nargs="+", type=int, metavar="N", help="of the axis (its own range)"
    )
    parser.add_argument(
        "--methods", nargs="+", default=list(DEFAULT_METHODS), choices=list(METHODS),
        metavar="METHOD", help=f"beside plain ({', '.join(DEFAULT_METHODS)})",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds that count (3)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (cpu)")
    parser.add_argument("--seed", type=int, default=0, help="(0)")
    parser.add_argument("--threads", type=int, help="CPU threads (PyTorch's choice)")
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help="write result.json, table.md, scaling.png"
    )
    return parser
