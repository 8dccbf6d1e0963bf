"""The command line: ``python -m examples.covid3d COMMAND``."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from examples.covid3d.commands.options import setting_options, shared_options
from examples.covid3d.commands.table import COMMANDS, PICTURES
from examples.covid3d.common.errors import UserError
from examples.covid3d.common.faults import in_words, passing_fault


class _Parser(argparse.ArgumentParser):
    """Says what is wrong, and not first all the options that there are."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}.\n  For what there is: {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """Builds the parser: a command for each stage, ``run`` for all, and those for other data."""
    parser: argparse.ArgumentParser = _Parser(
        prog="python -m examples.covid3d",
        description="Segment COVID-19 lesions in chest CT: a noisy teacher, reweighted students.",
        epilog="`run --preset demo` needs no data and takes a few minutes on two cores.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    settings = setting_options()
    for command in COMMANDS:
        parents = [shared_options(command.out), *([settings] if command.settings else [])]
        text = command.help
        # Of forty options, the list below tells more than the brackets above it.
        usage = "%(prog)s [options]" if command.settings else None
        own = commands.add_parser(
            command.name, parents=parents, help=text, description=text, usage=usage
        )
        own.set_defaults(entry=command)
        if command.add_options is not None:
            command.add_options(own)
    return parser


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """One line a warning, without the source line that raised it, clear of progress bars."""
    from tqdm import tqdm

    tqdm.write(f"warning: {message}", file=sys.stderr)


def _again(parsed: argparse.Namespace) -> str:
    """The command that goes on where an interrupted one was."""
    kept = parsed.entry.kept
    # Without kept settings --out alone would begin something else.
    if not kept or parsed.out is None or not (parsed.out / kept).is_file():
        return "Run the same command again"
    words = ["python", "-m", "examples.covid3d", parsed.command, "--out", str(parsed.out)]
    for name, default in (("device", "cpu"), ("jobs", 1), ("pictures", PICTURES)):
        value = getattr(parsed, name, None)
        words += [f"--{name}", str(value)] if value not in (None, default) else []
    return shlex.join(words + ["--redo"] * parsed.redo)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: Command line, without the program; that of the process by default.

    Returns:
        Exit status: 0, 1 where scans were skipped, 2 for an error of the user's, 130 when
            interrupted.
    """
    parsed = build_parser().parse_args(arguments)
    # Of what other packages tell, only what may be amiss.
    logging.basicConfig(format="%(message)s", stream=sys.stderr, force=True)
    logging.getLogger("examples.covid3d").setLevel(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            status: int = parsed.entry.run(parsed)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Exception as error:
        fault = passing_fault(error) or (error if isinstance(error, OSError) else None)
        if fault is None:
            raise
        print(f"error: {in_words(fault)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nInterrupted. To resume: {_again(parsed)}", file=sys.stderr)
        return 130
    return status
