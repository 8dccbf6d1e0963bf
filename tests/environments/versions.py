"""The library's tests against the oldest and the newest PyTorch it says it supports.

``python -m tests.environments.versions [oldest] [newest] [VERSION …]``, each in a fresh
environment under ``runs/versions``. What cannot be installed is an error: it was not tested.

PyPI's builds for Linux bring the CUDA libraries along, 5 GB each. Where PyTorch's own index can be
reached, ``PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu`` gives smaller ones.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.environments.fresh import Environment, NotInstalled

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "runs" / "versions"


def declared() -> str:
    """Return the lower bound of torch in ``pyproject.toml``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for dependency in project["dependencies"]:
        if found := re.fullmatch(r"torch>=([\d.]+)", dependency):
            return found[1]
    raise SystemExit("pyproject.toml has no lower bound of torch of the form torch>=X.Y.")


def requirement(wanted: str) -> str:
    """Return what to ask pip for: ``oldest``, ``newest`` or a version."""
    if wanted == "newest":
        return f"torch>={declared()}"
    version = declared() if wanted == "oldest" else wanted
    return f"torch=={version}" if version.count(".") > 1 else f"torch=={version}.0"


def tested_against(wanted: str) -> str | None:
    """Test, and return what went wrong."""
    environment = Environment(FOLDER / wanted)
    try:
        environment.install("--upgrade", requirement(wanted), f"{ROOT}[test]")
    except NotInstalled as error:
        return f"NOT TESTED, {requirement(wanted)} could not be installed: {error}"
    version = environment.version_of("torch")
    print(f"\n{wanted}: torch {version}", flush=True)
    status = environment.library_tests(ROOT, ["-p", "no:cacheprovider"])
    return f"torch {version}: pytest ended with status {status}" if status else None


def main(
    wanted: Sequence[str], against: Callable[[str], str | None] = tested_against
) -> dict[str, str | None]:
    """Test against each and say at the end how each went."""
    verdicts = {one: against(one) for one in wanted}
    print()
    for one, wrong in verdicts.items():
        print(f"{one}: {wrong or 'passed'}")
    return verdicts


if __name__ == "__main__":
    raise SystemExit(any(main(sys.argv[1:] or ["oldest", "newest"]).values()))
