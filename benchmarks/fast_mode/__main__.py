"""``python -m benchmarks.fast_mode``: does the fast mode train as the exact scores do."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks.command import positive
from benchmarks.errors import UserError
from benchmarks.fast_mode.training import SETTINGS, Outcome, Setting, problem_of, train
from benchmarks.files import write_text
from benchmarks.machine import describe_machine
from benchmarks.sets.idx_folder import Images, read_images
from reweight import GradientSimilarity

SCORERS: dict[str, Callable[[], GradientSimilarity]] = {
    "exact": GradientSimilarity,
    "fast": GradientSimilarity.fast,
}


def main(words: list[str] | None = None) -> int:
    """Run as the command line says, and return the exit status."""
    given = _parser().parse_args(words)
    try:
        text = _report(read_images(given.data), given)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; nothing was written", file=sys.stderr)
        return 130
    print(text)
    if given.output:
        write_text(given.output, text + "\n")
    return 0


def row(setting: Setting, found: dict[str, list[Outcome]]) -> str:
    """Return the line of one setting: accuracies in points, and the share of steps renewed."""
    exact, fast = ([100 * o.accuracy for o in found[name]] for name in ("exact", "fast"))
    shares = ", ".join(f"{outcome.renewed:.2f}" for outcome in found["fast"])
    difference = statistics.fmean(fast) - statistics.fmean(exact)
    return f"| {setting} | {_spread(exact)} | {_spread(fast)} | {difference:+.1f} | {shares} |"


def _report(data: Images, given: argparse.Namespace) -> str:
    lines = [
        f"{given.pool} images in batches of {given.batch}, {given.epochs} epochs, seeds 0 to "
        f"{given.seeds - 1}; test accuracy of the last epoch, mean ± standard deviation",
        "",
        "| setting | exact | fast | difference | steps that took the trusted gradient anew |",
        "|---|---|---|---|---|",
    ]
    with tqdm(total=len(SETTINGS) * len(SCORERS) * given.seeds, unit="run", disable=None) as bar:
        for setting in SETTINGS:
            found: dict[str, list[Outcome]] = {name: [] for name in SCORERS}
            for seed in range(given.seeds):
                problem = problem_of(data, setting, given.pool, seed)
                for name, scorer in SCORERS.items():
                    found[name].append(
                        train(
                            problem,
                            setting,
                            scorer(),
                            batch=given.batch,
                            epochs=given.epochs,
                            seed=seed,
                        )
                    )
                    bar.update()
            lines.append(row(setting, found))
            tqdm.write(lines[-1])
    machine = describe_machine(torch.device("cpu"))
    return "\n".join([*lines, "", ", ".join(f"{k} {v}" for k, v in machine.items())])


def _spread(values: list[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):.1f} ± {deviation:.1f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fast_mode",
        description="Train by exact gradient similarity and by its fast mode, as the only scorer.",
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of four IDX files, such as Fashion-MNIST"
    )
    parser.add_argument("--seeds", type=positive, default=3, help="how many seeds, from 0 on (3)")
    parser.add_argument("--epochs", type=positive, default=10, help="rounds of the pool (10)")
    parser.add_argument("--pool", type=positive, default=5000, help="noisy images (5000)")
    parser.add_argument("--batch", type=positive, default=100, help="images per batch (100)")
    parser.add_argument("--output", type=Path, help="file for the table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
