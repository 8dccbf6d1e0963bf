"""The library's tests from an unpacked source distribution, with that distribution installed.

``python -m tests.environments.sdist`` builds one, and needs no file that is not in it.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tests.environments.fresh import Environment

ROOT = Path(__file__).parent.parent.parent


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        builder = Environment(folder / "builder")
        builder.install("build")
        command = [builder.python, "-m", "build", "--sdist", "--outdir", folder / "dist", ROOT]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (archive,) = (folder / "dist").glob("*.tar.gz")
        with tarfile.open(archive) as packed:
            packed.extractall(folder / "source", filter="data")
        (source,) = (folder / "source").iterdir()
        environment = Environment(folder / "installed")
        environment.install("-c", str(source / "constraints.txt"), f"{archive}[test]")
        print(f"{archive.name}, {archive.stat().st_size / 2**20:.1f} MiB", flush=True)
        return environment.library_tests(source)


if __name__ == "__main__":
    sys.exit(main())
