"""``python -m benchmarks.meta_step``: time and peak memory of every way to step."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.command import shown
from benchmarks.files import write_figure, write_json, write_text
from benchmarks.machine import describe_machine
from benchmarks.meta_step import table
from benchmarks.meta_step.failure import Failure, attempt
from benchmarks.meta_step.measuring import measure
from benchmarks.meta_step.methods import METHODS
from benchmarks.meta_step.options import Options, parse
from benchmarks.meta_step.plot import figure
from benchmarks.meta_step.profiling import Profile, markdown, profile_method
from benchmarks.meta_step.summary import Measurement
from benchmarks.meta_step.unfinished import RESULT, unfinished


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark as the command line says.

    Returns:
        Exit status: 0, 1 if plain training itself failed, 2 for a bad option, 130 if interrupted.
    """
    options = parse(arguments)
    try:
        return _profile(options) if options.profile else _measure(options, arguments)
    except KeyboardInterrupt:
        kept = "; the same command goes on with the next model" if options.output else ""
        print(f"\nInterrupted{kept}.", file=sys.stderr)
        return 130
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _measure(options: Options, arguments: Sequence[str]) -> int:
    setups = options.setups
    if setups[0].threads is not None:
        torch.set_num_threads(setups[0].threads)
    same: dict[str, Any] = {
        "settings": {
            "setups": [setup.as_json() for setup in setups],
            "methods": list(options.methods),
            "rounds": options.rounds,
            "memory": options.memory,
            "own_allocator": options.own_allocator,
        },
        "machine": describe_machine(torch.device(setups[0].device)),
    }
    command = shown("benchmarks.meta_step", arguments)
    done: list[Measurement] = []
    if options.output:
        done = [Measurement.from_json(r) for r in unfinished(options.output, same)]
    print(", ".join(f"{name} {value}" for name, value in same["machine"].items()))
    for number, setup in enumerate(setups):
        if number >= len(done):
            done.append(
                measure(
                    setup,
                    options.methods,
                    options.rounds,
                    memory=options.memory,
                    own_allocator=options.own_allocator,
                )
            )
        print(f"\n{_section(done[number])}", flush=True)
        if options.output:
            write_figure(options.output / f"{setup.model}.png", figure(done[number]))
            write_text(options.output / "table.md", "\n\n".join(map(_section, done)) + "\n")
            results = [measured.as_json() for measured in done]
            complete = len(done) == len(setups)
            write_json(
                options.output / RESULT,
                {"complete": complete, "command": command, **same, "results": results},
            )
    return 1 if any("plain" in measured.time_errors for measured in done) else 0


def _section(measured: Measurement) -> str:
    rounds = max(map(len, measured.seconds.values()), default=0)
    return f"{measured.describes}, medians of {rounds} rounds\n\n{table.markdown(measured)}"


def _profile(options: Options) -> int:
    names = [name for name in METHODS if name == "plain" or name in options.profile]
    for setup in options.setups:
        profiles: dict[str, Profile] = {}
        for name in tqdm(names, f"{setup.model}: profiles", file=sys.stderr):
            found = attempt(partial(profile_method, name, setup))
            if isinstance(found, Failure):
                print(f"{name}: {found.reason}", file=sys.stderr)
                if name == "plain":
                    return 1
            else:
                profiles[name] = found
        print(f"# {setup.model}\n\n{markdown(profiles)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
