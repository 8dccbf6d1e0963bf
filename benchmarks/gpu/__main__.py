"""``python -m benchmarks.gpu``: what a step costs on a CUDA device, in a few minutes."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.command import shown
from benchmarks.gpu.card import describe_card
from benchmarks.gpu.options import parse
from benchmarks.gpu.record import Record
from benchmarks.gpu.run import Run


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark as the command line says.

    Returns:
        Exit status: 0, 1 if nothing could be measured or the device gave up, 2 for a bad option,
        130 if interrupted.
    """
    options = parse(arguments)
    same = {"settings": options.settings(), "machine": describe_card(options.torch_device)}
    print(", ".join(f"{name} {value}" for name, value in same["machine"].items()))
    try:
        record = Record.read(options.output, same, shown("benchmarks.gpu", arguments))
        return Run(options, record).all()
    except KeyboardInterrupt:
        print(f"\nInterrupted; the same command goes on. See {options.output}.", file=sys.stderr)
        return 130
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
