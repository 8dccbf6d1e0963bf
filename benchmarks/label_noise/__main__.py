"""``python -m benchmarks.label_noise``: accuracy of every method under kinds of label noise."""

from __future__ import annotations

import sys

import torch

from benchmarks.command import shown
from benchmarks.errors import UserError
from benchmarks.label_noise.options import parse
from benchmarks.label_noise.report import write_report
from benchmarks.label_noise.store import Store
from benchmarks.label_noise.workers import make_runs
from benchmarks.machine import describe_machine


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark as the command line says, and return the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        command = parse(words)
        store = Store(command.output)
        if command.work is not None:
            work = command.work
            torch.set_num_threads(1)  # as in the processes that train
            about = {
                **describe_machine(torch.device("cpu")),
                "jobs": str(work.jobs),
                "command": shown("benchmarks.label_noise", words),
            }
            store.begin(work.settings, work.plan, about)
            make_runs(work.data, work.settings, work.plan, work.jobs, store)
        print(write_report(store))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
