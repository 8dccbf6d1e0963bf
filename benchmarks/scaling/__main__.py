"""``python -m benchmarks.scaling``: how the time of a step grows."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.command import shown
from benchmarks.files import write_figure, write_json, write_text
from benchmarks.machine import describe_machine
from benchmarks.meta_step.unfinished import RESULT, unfinished
from benchmarks.scaling.axes import AXES
from benchmarks.scaling.fit import Series, series
from benchmarks.scaling.options import Options, parse
from benchmarks.scaling.plot import figure
from benchmarks.scaling.sweep import Point, Sweep
from benchmarks.scaling.table import markdown


def main(arguments: Sequence[str]) -> int:
    """Run the sweeps as the command line says.

    Returns:
        Exit status: 0, 1 if there is nothing to show, 2 for a bad option, 130 if interrupted.
    """
    options = parse(arguments)
    try:
        return _run(options, shown("benchmarks.scaling", arguments))
    except KeyboardInterrupt:
        kept = "; the same command goes on with the next point" if options.output else ""
        print(f"\nInterrupted{kept}.", file=sys.stderr)
        return 130
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(options: Options, command: str) -> int:
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    same: dict[str, Any] = {
        "settings": {
            "values": {axis: list(values) for axis, values in options.values.items()},
            "methods": list(options.methods),
            "rounds": options.rounds,
            "seed": options.seed,
        },
        "machine": describe_machine(torch.device(options.device)),
    }
    done: list[Point] = []
    if options.output:
        done = [Point(**content) for content in unfinished(options.output, same)]

    def write(*, complete: bool) -> None:
        if options.output:
            results = [point.as_json() for point in done]
            result = {"complete": complete, "command": command, **same, "results": results}
            write_json(options.output / RESULT, result)

    total = sum(map(len, options.values.values()))
    with tqdm(total=total, initial=len(done), desc="points", file=sys.stderr) as bar:
        for point in _points(options, done):
            done.append(point)
            bar.update()
            write(complete=False)
    found = [series(done, axis, method) for axis in options.values for method in options.methods]
    page = _page(same["machine"], options, found)
    print(page)
    if options.output:
        write_text(options.output / "table.md", page + "\n")
        write_figure(options.output / "scaling.png", figure(found))
    write(complete=True)
    return 0 if any(one.values for one in found) else 1


def _points(options: Options, done: Sequence[Point]) -> Iterator[Point]:
    measured = {(point.axis, point.value): point for point in done}
    for axis, values in options.values.items():
        sweep = Sweep(axis, AXES[axis], torch.device(options.device), options.rounds, options.seed)
        methods = list(options.methods)
        for value in values:
            point = measured.get((axis, value))
            if point is None:
                point = sweep.point(value, methods)
                yield point
            else:
                sweep.recall(point)
            methods = [method for method in methods if method not in point.notes]


def _page(machine: dict[str, str], options: Options, found: Sequence[Series]) -> str:
    head = ", ".join(f"{name} {value}" for name, value in machine.items())
    held = "\n".join(f"- {AXES[axis].label}: {AXES[axis].held}" for axis in options.values)
    return (
        f"{head}\n\nMedians of {options.rounds} rounds, float32, seed {options.seed}.\n\n{held}\n\n"
        f"{markdown(found)}"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
