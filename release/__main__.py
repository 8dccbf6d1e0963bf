"""Builds and checks what is uploaded: ``python -m release --source https://host/owner/name``.

In a copy of what git knows, so that no file of one's own is in it, it writes the README for the
index and the project's addresses, builds the source distribution and the wheel, and checks both.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from email import message_from_bytes
from pathlib import Path

from release.index_page import index_page, relative_links

ROOT = Path(__file__).parent.parent
NEEDED_IN_SOURCES = ("tests/conftest.py", "docs/guide.md", "constraints.txt", "CHANGELOG.md")


def main(arguments: Sequence[str] | None = None) -> int:
    """Build into ``--output``; return 0, or 1 with a word on what is wrong."""
    options = _options(arguments)
    version = version_of(ROOT)
    problem = unfit(ROOT, version)
    if problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _copy(folder)
        prepare(folder, options.source, version)
        built = folder / "dist"
        _run("build", "--outdir", str(built), str(folder))
        _run("twine", "check", "--strict", *map(str, built.iterdir()))
        problem = next(filter(None, map(wrong_with, sorted(built.iterdir()))), None)
        if problem:
            print(f"error: {problem}", file=sys.stderr)
            return 1
        options.output.mkdir(parents=True, exist_ok=True)
        for path in sorted(built.iterdir()):
            there = options.output / path.name
            part = there.with_suffix(".part")
            part.write_bytes(path.read_bytes())
            part.replace(there)
            print(f"{there}  {there.stat().st_size / 2**10:.0f} KiB")
    if options.source is None:
        print("Without --source links into the repository are left out of the index's page.")
    return 0


def version_of(root: Path) -> str:
    """Return the version, from the one place where it stands."""
    text = (root / "reweight" / "__init__.py").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("__version__ = ")]
    return lines[0].partition('"')[2].rstrip('"')


def unfit(root: Path, version: str) -> str | None:
    """Return why this is no release yet, or ``None``."""
    changes = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    if f"## [{version}]" not in changes:
        return f"CHANGELOG.md has no section [{version}], the version of reweight/__init__.py"
    cited = (root / "CITATION.cff").read_text(encoding="utf-8")
    if f"version: {version}\n" not in cited:
        return f"CITATION.cff is of another version than {version}"
    return None


def prepare(folder: Path, source: str | None, version: str) -> None:
    """Make a copy of the project what an index shows, and says of its addresses."""
    readme = folder / "README.md"
    readme.write_text(
        index_page(readme.read_text(encoding="utf-8"), source, version), encoding="utf-8"
    )
    if source is not None:
        project = folder / "pyproject.toml"
        address = source.rstrip("/")
        urls = (
            f'[project.urls]\nSource = "{address}"\nIssues = "{address}/issues"\n'
            f'Changelog = "{address}/blob/v{version}/CHANGELOG.md"\n\n'
        )
        text = project.read_text(encoding="utf-8")
        place = text.index("[tool.setuptools")
        project.write_text(text[:place] + urls + text[place:], encoding="utf-8")


def wrong_with(path: Path) -> str | None:
    """Return what is wrong with a distribution, or ``None``."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            names = wheel.namelist()
            (about,) = (n for n in names if n.endswith(".dist-info/METADATA"))
            page = str(message_from_bytes(wheel.read(about)).get_payload())
        others = {n.partition("/")[0] for n in names} - {"reweight"}
        others = {n for n in others if not n.endswith(".dist-info")}
        if others:
            return f"{path.name} would install {', '.join(sorted(others))} beside reweight"
        if "reweight/py.typed" not in names:
            return f"{path.name} has no reweight/py.typed: type checkers would see no types"
    else:
        with tarfile.open(path) as archive:
            names = archive.getnames()
            top = names[0].partition("/")[0]
            missing = [n for n in NEEDED_IN_SOURCES if f"{top}/{n}" not in names]
            if missing:
                return f"{path.name} lacks {', '.join(missing)}"
            readme = archive.extractfile(f"{top}/README.md")
            assert readme is not None
            page = readme.read().decode()
    left = relative_links(page)
    return f"{path.name}: its page has links that an index cannot follow: {left}" if left else None


def _copy(folder: Path) -> None:
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True).stdout.decode()
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())


def _run(module: str, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.stderr.write(done.stdout[-4000:] + done.stderr[-4000:])
        raise SystemExit(f"error: python -m {module} ended with status {done.returncode}")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m release", description="Builds and checks the distributions of the library."
    )
    parser.add_argument(
        "--source",
        metavar="URL",
        help="the repository's address, which links and pictures of the README lead to",
    )
    parser.add_argument("--output", type=Path, default=ROOT / "dist", metavar="FOLDER")
    options = parser.parse_args(arguments)
    if options.source is not None and not options.source.startswith("https://"):
        parser.error(f"--source must be an address that begins with https://, got {options.source}")
    return options


if __name__ == "__main__":
    sys.exit(main())
