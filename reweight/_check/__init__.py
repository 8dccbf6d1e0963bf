"""Every scorer beside plain backward passes, on the user's own model and data."""

from __future__ import annotations

from reweight._check.compare import check_scorers

__all__ = ["check_scorers"]
