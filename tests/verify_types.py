"""How much of the public interface has types that every checker reads alike, by pyright.

``python -m tests.verify_types`` fails below 99 % and names the annotations that are missing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
LEAST = 0.99


def report() -> dict[str, Any]:
    """Ask pyright, which looks for packages where the python first on the path does."""
    environment = dict(os.environ)
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
    environment["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-m", "pyright", "--ignoreexternal", "--outputjson"]
    done = subprocess.run(
        [*command, "--verifytypes", "reweight"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise SystemExit(f"pyright said nothing of use:\n{done.stdout}\n{done.stderr}") from None
    return found


def verdict(found: dict[str, Any], least: float = LEAST) -> int:
    """Print the share of known types, and where it is too low the names without one."""
    completeness = found["typeCompleteness"]
    score = completeness["completenessScore"]
    print(f"{score:.1%} of the public interface has a known type; at least {least:.0%} must.")
    if score >= least:
        return 0
    for symbol in completeness["symbols"]:
        for diagnostic in symbol.get("diagnostics", []):
            if "partially unknown" not in diagnostic["message"]:  # that is for want of another
                print(f"  {symbol['name']}: {diagnostic['message']}")
    return 1


if __name__ == "__main__":
    raise SystemExit(verdict(report()))
