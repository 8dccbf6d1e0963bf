"""``python -m benchmarks.label_issues``: how well the wrong labels are found, beside peers."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.label_issues.plans import PRESETS
from benchmarks.trials.main import Benchmark, run
from benchmarks.trials.report.aims import best_list, right_suggestions

BENCHMARK = Benchmark(
    module="benchmarks.label_issues",
    title="Finding wrong labels",
    what="Look for the wrong labels of data sets by the library and by its peers, and report on "
    "it.",
    presets=PRESETS,
    aims=(best_list, right_suggestions("symmetric-40-e15", share=0.75)),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark as the command line says, and return the exit status."""
    return run(BENCHMARK, arguments)


if __name__ == "__main__":
    sys.exit(main())
