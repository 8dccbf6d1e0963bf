"""Entry point of ``python -m examples.covid3d``."""

import os
import sys

if __name__ == "__main__":
    # On a busy machine, OpenMP threads that spin while they wait take the cores from those that
    # work, and training is three times slower. To be set before torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        # The imports take seconds, in which Ctrl-C should not print a traceback either.
        from examples.covid3d.commands.cli import main
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(main())
