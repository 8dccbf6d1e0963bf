"""What the user can mend."""

from __future__ import annotations


class UserError(Exception):
    """Something in the command, the data or the output folder that the user can mend."""
