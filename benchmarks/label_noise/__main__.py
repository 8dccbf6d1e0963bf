"""``python -m benchmarks.label_noise``: accuracy of every row under kinds of label noise."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.label_noise.plans import PRESETS
from benchmarks.trials.main import Benchmark, run
from benchmarks.trials.report.aims import (
    default_never_misleads,
    never_below_trusted,
    share_of_the_way,
)

BENCHMARK = Benchmark(
    module="benchmarks.label_noise",
    title="Accuracy under label noise",
    what="Train every row under kinds of label noise, on Fashion-MNIST and CIFAR-10N, and report "
    "on it.",
    presets=PRESETS,
    aims=(
        share_of_the_way("symmetric-40-e40", "asymmetric-40-e40"),
        never_below_trusted,
        default_never_misleads,
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark as the command line says, and return the exit status."""
    return run(BENCHMARK, arguments)


if __name__ == "__main__":
    sys.exit(main())
