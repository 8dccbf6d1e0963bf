"""``python -m benchmarks.agreement``: how far cheaper scores may be trusted."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks.agreement.fashion import fashion
from benchmarks.agreement.hippocampus import hippocampus
from benchmarks.agreement.measure import measure
from benchmarks.agreement.report import plot, table
from benchmarks.command import positive, shown
from benchmarks.errors import UserError
from benchmarks.files import write_figure, write_json, write_text
from benchmarks.machine import describe_machine

TASKS = {"fashion": fashion, "hippocampus": hippocampus}


def main(words: list[str] | None = None) -> int:
    """Run as the command line says, and return the exit status."""
    words = sys.argv[1:] if words is None else words
    given = _parser().parse_args(words)
    try:
        task = TASKS[given.task](given.data, given.seed)
        torch.manual_seed(given.seed)
        with tqdm(total=given.steps, unit="step", disable=None) as bar:
            found = measure(task, given.steps, given.every, lambda done: bar.update(done - bar.n))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; nothing was written", file=sys.stderr)
        return 130
    machine = describe_machine(torch.device("cpu"))
    settings = f"{task.what}; {given.steps} steps, compared in every {given.every}th, seed "
    settings += f"{given.seed}"
    text = f"{settings}\n\n{table(found)}\n\n{', '.join(f'{k} {v}' for k, v in machine.items())}\n"
    print(text)
    if given.output:
        command = shown("benchmarks.agreement", words)
        given.output.mkdir(parents=True, exist_ok=True)
        write_json(
            given.output / f"{given.task}.json",
            {
                "command": command,
                "settings": settings,
                "machine": machine,
                "every": given.every,
                "rank_correlation": {
                    name: [None if math.isnan(value) else value for value in values]
                    for name, values in found.items()
                },
            },
        )
        write_text(given.output / f"{given.task}.md", text)
        write_figure(given.output / f"{given.task}.png", plot(found, given.every, settings))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.agreement",
        description="Train under exact gradient similarity, and compare cheaper scores with it.",
    )
    parser.add_argument("task", choices=list(TASKS))
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="fashion: a folder of IDX files; hippocampus: a folder with imagesTr and labelsTr",
    )
    parser.add_argument("--steps", type=positive, default=300, help="training steps (300)")
    parser.add_argument(
        "--every", type=_odd, default=5, help="compare in every so manieth step, an odd number (5)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="folder for a table, a plot and every number")
    return parser


def _odd(text: str) -> int:
    # What is renewed every 2nd, 4th or 8th step must be met at every age.
    if positive(text) % 2 == 0:
        raise argparse.ArgumentTypeError(f"{text} is even")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
