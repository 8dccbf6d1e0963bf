"""The command line, checked."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.cells import IMPORTANCE, QUICK_BATCH, Cell, all_cells
from benchmarks.gpu.measure import Plan
from benchmarks.meta_step.models import MODELS
from benchmarks.meta_step.options import device_problem

_BUDGET, _QUICK_BUDGET = 450.0, 100.0


@dataclass(frozen=True)
class Options:
    """What to measure, and for how long.

    Attributes:
        device: As ``torch.device`` reads it.
        quick: Tiny sizes: the same code, whose figures say nothing.
        budget: Seconds for everything but the last pages and plots.
        models: Names in the registry.
        only: Texts, one of which a cell's stage and words are to have; all cells if empty.
        rounds: Interleaved rounds that count, at most.
        tests: Whether to run the library's tests.
        output: Folder to write to.
    """

    device: str
    quick: bool
    budget: float
    models: tuple[str, ...]
    only: tuple[str, ...]
    rounds: int
    tests: bool
    output: Path

    @property
    def torch_device(self) -> torch.device:
        """The device."""
        return torch.device(self.device)

    @property
    def cells(self) -> list[Cell]:
        """What is measured, in order."""
        cells = all_cells(self.models, quick=self.quick)
        named = [(f"{cell.stage}: {cell.words}", cell) for cell in cells]
        return [cell for name, cell in named if not self.only or any(t in name for t in self.only)]

    @property
    def plan(self) -> Plan:
        """How thoroughly."""
        return Plan(1, 1, memory=False) if self.quick else Plan(self.rounds, 2, memory=True)

    @property
    def least(self) -> float:
        """Seconds that a cell's share has at least; a quick one, of one round, ends by itself."""
        return 10.0 if self.quick else 4.0

    @property
    def longest_step(self) -> float:
        """Seconds that a step of a batch that fills the device may take."""
        return 0.2

    @property
    def largest_batch(self) -> int:
        """Samples that a batch may have."""
        return 4 if self.quick else 2**15

    @property
    def for_compiling(self) -> float:
        """Seconds without which nothing is compiled, since a compiler cannot be stopped."""
        return 10.0 if self.quick else 40.0

    def first_batch(self, model: str) -> int:
        """Return where the search for a batch that fills the device begins."""
        return QUICK_BATCH if self.quick else MODELS[model].batch

    @property
    def for_tests(self) -> float:
        """Seconds for the library's tests."""
        return min(90.0, 0.2 * self.budget)

    def settings(self) -> dict[str, Any]:
        """Return what two runs must have in common for one to go on with the other's results."""
        return {
            "device": self.device,
            "quick": self.quick,
            "models": list(self.models),
            "tests": self.tests,
        }


def parse(arguments: Sequence[str]) -> Options:
    """Return the options; with a bad one, say so and exit with status 2."""
    parser = _parser()
    found = parser.parse_args(arguments)
    if not torch.cuda.is_available() and found.device.startswith("cuda"):
        parser.error(
            f"this benchmark is for a CUDA device, and this PyTorch ({torch.__version__}) finds "
            f"none. With --device cpu --quick the same code runs here at tiny sizes, to be tried; "
            f"what it measures then says nothing of a GPU. On a CPU, measure by "
            f"python -m benchmarks.meta_step"
        )
    problem = device_problem(found.device)
    if problem is not None:
        parser.error(problem)
    if found.budget is not None and found.budget <= 0:
        parser.error(f"--budget must be above 0 seconds, got {found.budget:g}")
    if found.output.exists() and not found.output.is_dir():
        parser.error(f"--output must be a folder, and {found.output} is a file")
    if found.rounds < 1:
        parser.error(f"--rounds must be 1 or more, got {found.rounds}")
    options = Options(
        device=found.device,
        quick=found.quick,
        budget=found.budget or (_QUICK_BUDGET if found.quick else _BUDGET),
        models=tuple(name for name in IMPORTANCE if name in found.models),
        only=tuple(found.only),
        rounds=found.rounds,
        tests=not found.no_tests,
        output=found.output,
    )
    if not options.cells:
        parser.error(
            f"--only {' '.join(options.only)}: no cell has that in its name, which is like "
            f'"{all_cells(options.models)[0].stage}: {all_cells(options.models)[0].words}"'
        )
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description="What a step costs on a CUDA device: time, memory, waits for the device and of "
        "it, and the library's tests there. Writes results.json, report.md and plots as it goes; "
        "the same command goes on where it was cut off, and with what the time did not reach.",
    )
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu to try it (cuda)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try the code")
    parser.add_argument(
        "--budget",
        type=float,
        metavar="SECONDS",
        help=f"time for all measurements ({_BUDGET:g}; with --quick {_QUICK_BUDGET:g})",
    )
    parser.add_argument(
        "--models",
        nargs="+",
        default=list(IMPORTANCE),
        choices=IMPORTANCE,
        metavar="MODEL",
        help=f"which to measure (all): {', '.join(IMPORTANCE)}",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="TEXT",
        help='only what has one of these in its name, as "float32, small batches: unet" (all)',
    )
    parser.add_argument("--rounds", type=int, default=15, help="times of each step, at most (15)")
    parser.add_argument("--no-tests", action="store_true", help="leave the library's tests out")
    parser.add_argument(
        "--output", type=Path, default=Path("runs/gpu"), metavar="FOLDER", help="(runs/gpu)"
    )
    return parser
