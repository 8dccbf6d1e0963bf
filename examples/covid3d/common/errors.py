"""The one error that is the user's to mend."""

from __future__ import annotations

from pathlib import Path


class UserError(Exception):
    """Something the user can mend: a bad file, option or folder.

    The command line prints its message, without a traceback, and exits with status 2.
    """


def problem(where: Path | str, found: str, expected: str, remedy: str) -> UserError:
    """Words an error the same way everywhere: what was wrong, what was expected, how to mend it.

    Args:
        where: The file, folder or option at fault.
        found: What is there.
        expected: What should be there.
        remedy: What the user can do about it.

    Returns:
        The error, for the caller to raise.
    """
    return UserError(f"{where}: {found}.\n  Expected: {expected}.\n  To mend it: {remedy}.")
