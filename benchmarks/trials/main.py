"""What the commands have in common: plans in, results and a report out."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from benchmarks.command import shown
from benchmarks.errors import UserError
from benchmarks.machine import describe_machine
from benchmarks.trials.options import parse
from benchmarks.trials.plans import Plan
from benchmarks.trials.report import Aims, write_report
from benchmarks.trials.store import Store
from benchmarks.trials.workers import make_runs


@dataclass(frozen=True)
class Benchmark:
    """A command.

    Attributes:
        module: Its name.
        title: Of its report.
        what: What it does, a sentence.
        presets: The plans to choose from; the first is the default.
        aims: What its results are held against.
    """

    module: str
    title: str
    what: str
    presets: Mapping[str, Plan]
    aims: Aims


def run(benchmark: Benchmark, arguments: Sequence[str] | None = None) -> int:
    """Do as the command line says, and return the exit status."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        command = parse(words, benchmark.module, benchmark.what, benchmark.presets)
        store = Store(command.output)
        if command.work is not None:
            work = command.work
            for message in work.missing:
                print(f"left out: {message}", file=sys.stderr)
            torch.set_num_threads(1)  # the processes that train have a core each
            about = {
                **describe_machine(torch.device("cpu")),
                "jobs": str(work.jobs),
                "command": shown(benchmark.module, words),
                "left out": "; ".join(work.missing),
            }
            store.begin(work.plan, {name: value for name, value in about.items() if value})
            make_runs(work.folders, work.plan, work.jobs, store)
        print(write_report(store, benchmark.title, benchmark.aims))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0
