"""``python -m benchmarks.modes``: scores under AMP and by compiled graphs, and exact ones."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from benchmarks.command import positive, shown
from benchmarks.files import write_json, write_text
from benchmarks.machine import describe_machine
from benchmarks.meta_step.models import MODELS, Setup
from benchmarks.meta_step.options import device_problem
from benchmarks.modes.measure import ModeRow, measure


def main(words: list[str] | None = None) -> int:
    """Run as the command line says, and return the exit status."""
    words = sys.argv[1:] if words is None else words
    parser = _parser()
    given = parser.parse_args(words)
    problem = device_problem(given.device)
    if problem is not None:
        parser.error(problem)
    machine = describe_machine(torch.device(given.device))
    parts, data = [], {}
    for name in given.models:
        model = MODELS[name]
        batch = given.batch or model.batch
        setup = Setup(name, given.size or model.size, batch, batch, given.device, seed=given.seed)
        rows = measure(setup, given.rounds, compiled=given.compile)
        data[name] = [row.as_json() for row in rows]
        parts.append(f"{name}, {batch} + {batch}, seed {given.seed}\n\n{table(rows)}\n")
        print(parts[-1], flush=True)
    about = ", ".join(f"{key} {value}" for key, value in machine.items())
    print(about)
    if given.output:
        given.output.mkdir(parents=True, exist_ok=True)
        command = shown("benchmarks.modes", words)
        write_json(
            given.output / "modes.json", {"command": command, "machine": machine, "rows": data}
        )
        text = "\n".join([f"`{command}`\n", *parts, about])
        write_text(given.output / "modes.md", text + "\n")
    return 0


def table(rows: list[ModeRow]) -> str:
    """Return the rows as Markdown; times as multiples of the plain step in float32."""
    plain = rows[0].seconds or 1.0
    lines = [
        "| step | time (× plain) | first step (s) | rank correlation | relative error |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        if row.refused:
            lines.append(f"| {row.mode} | refused: {row.refused} | | | |")
            continue
        cells = [
            f"{(row.seconds or 0.0) / plain:.2f}",
            f"{row.first:.2f}",
            "" if row.correlation is None else f"{row.correlation:.4f}",
            "" if row.error is None else f"{row.error:.1e}",
        ]
        lines.append(f"| {row.mode} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.modes", description=__doc__)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--size", type=positive, help="in place of each model's own")
    parser.add_argument("--batch", type=positive, help="noisy samples, and trusted ones")
    parser.add_argument("--rounds", type=positive, default=7, help="times each step is timed")
    parser.add_argument("--compile", action="store_true", help="compiled graphs too (minutes)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="folder for modes.json and modes.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())
