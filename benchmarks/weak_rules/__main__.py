"""``python -m benchmarks.weak_rules``: what rules and a knowledge base have labelled."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.trials.main import Benchmark, run
from benchmarks.trials.report.aims import (
    above_controls,
    default_never_misleads,
    never_below_trusted,
)
from benchmarks.weak_rules.plans import PRESETS

BENCHMARK = Benchmark(
    module="benchmarks.weak_rules",
    title="Labels by rules and by a knowledge base",
    what="Train every row on texts that rules have labelled, and on names that a knowledge base "
    "found, and report on it.",
    presets=PRESETS,
    aims=(
        above_controls("hausa-rules", "youtube-rules", size=5, by=4),
        never_below_trusted,
        default_never_misleads,
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark as the command line says, and return the exit status."""
    return run(BENCHMARK, arguments)


if __name__ == "__main__":
    sys.exit(main())
