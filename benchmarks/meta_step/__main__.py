"""``python -m benchmarks.meta_step``: time and peak memory of every way to step."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import describe_machine
from benchmarks.meta_step.memory import ALLOCATOR, Peak, peak_of
from benchmarks.meta_step.timing import interleaved, ratios
from benchmarks.meta_step.variants import VARIANTS, build, unet_problem

_MEMORY_REPEATS = 3


def main() -> int:
    """Run the benchmark as the command line says, and return the exit status."""
    arguments = _parse()
    device = torch.device(arguments.device)
    if arguments.memory_of:
        problem = _problem(arguments, device)
        step = build(arguments.memory_of, problem)
        print(json.dumps(asdict(peak_of(step, _MEMORY_REPEATS, device))))
        return 0
    names = [name for name in VARIANTS if name == "plain" or name in arguments.variants]
    peaks = {name: _peak_in_own_process(name, arguments) for name in names}
    problem = _problem(arguments, device)
    steps = {name: build(name, problem) for name in names}
    times = interleaved(steps, arguments.rounds, 2, device, _say)
    machine = describe_machine(device)
    settings = f"4,806,481-parameter 3D U-Net, {arguments.batch} + {arguments.trusted_batch} "
    settings += (
        f"volumes of 1 × {arguments.size}³, seed {arguments.seed}, {arguments.rounds} rounds"
    )
    print(f"{settings}\n{', '.join(f'{k} {v}' for k, v in machine.items())}\n")
    print(_table(times, peaks))
    if arguments.output:
        _write(
            arguments.output,
            {
                "settings": settings,
                "machine": machine,
                "seconds": times,
                "peak_mib": {name: asdict(peak) for name, peak in peaks.items()},
            },
        )
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.meta_step", description=__doc__)
    parser.add_argument("--batch", type=int, default=4, help="noisy volumes, C_p (4)")
    parser.add_argument("--trusted-batch", type=int, default=4, help="trusted volumes, C_v (4)")
    parser.add_argument(
        "--size", type=int, default=48, help="side in voxels, a multiple of 16 (48)"
    )
    parser.add_argument("--rounds", type=int, default=15, help="interleaved rounds that count (15)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--output", type=Path, help="write every time as JSON to this file")
    parser.add_argument(
        "--own-allocator",
        action="store_true",
        help="leave the C library's allocator as it is when measuring resident memory",
    )
    parser.add_argument("--memory-of", choices=list(VARIANTS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.size < 32 or arguments.size % 16:
        parser.error(f"--size must be a multiple of 16, at least 32; got {arguments.size}")
    for name in ("batch", "trusted_batch", "rounds"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    return arguments


def _problem(arguments: argparse.Namespace, device: torch.device) -> Any:
    return unet_problem(
        arguments.batch, arguments.trusted_batch, arguments.size, arguments.seed, device
    )


def _peak_in_own_process(name: str, arguments: argparse.Namespace) -> Peak:
    command = [sys.executable, "-m", "benchmarks.meta_step", "--memory-of", name]
    for option in ("batch", "trusted_batch", "size", "seed", "device"):
        command += [f"--{option.replace('_', '-')}", str(getattr(arguments, option))]
    _say(f"peak memory of {name}")
    environment = {**os.environ, **({} if arguments.own_allocator else ALLOCATOR)}
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return Peak(**json.loads(result.stdout.splitlines()[-1]))


def _table(times: dict[str, list[float]], peaks: dict[str, Peak]) -> str:
    rows = [
        "| step | time (× plain) | quartiles | median (s) | peak tensors | peak resident |",
        "|---|---|---|---|---|---|",
    ]
    for name, seconds in times.items():
        relative = ratios(seconds, times["plain"])
        low, middle, high = _quartiles(relative)
        rows.append(
            f"| {name} | {middle:.2f} | {low:.2f}–{high:.2f} | {statistics.median(seconds):.3f} "
            f"| {_memory(peaks[name].tensors, peaks['plain'].tensors)} "
            f"| {_memory(peaks[name].resident, peaks['plain'].resident)} |"
        )
    return "\n".join(rows)


def _memory(own: float | None, plain: float | None) -> str:
    return f"× {own / plain:.2f} ({own:.0f} MiB)" if own and plain else "not measured"


def _quartiles(values: list[float]) -> tuple[float, float, float]:
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def _say(line: str) -> None:
    print(f"\r\033[K{line}", end="" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)


def _write(path: Path, result: dict[str, Any]) -> None:
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(result, indent=2) + "\n")
    temporary.replace(path)


if __name__ == "__main__":
    sys.exit(main())
