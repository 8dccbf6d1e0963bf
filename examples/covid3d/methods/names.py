"""The rows by name alone: what a command line offers, without what rows are made of.

Importing the rows themselves takes seconds, which a request for help should not.
"""

from __future__ import annotations

REMEMBERING_ROWS = (
    "random-trusted", "rgs-scan", "rgs-scan-loss", "rgs-source", "soft-voxel", "best-remembering",
)  # fmt: skip
"""Rows whose weights remember, and a control; for labels that differ in quality by scan."""

ROW_NAMES = (
    "supervised", "supervised-trusted", "supervised-all", "equal", "equal-trusted", "random",
    "semi-supervised", "rgs", "rgm", "rgsm", "rgs-al", "rgsm-al", "rgsm-al-trusted", "rgs-voxel",
    *REMEMBERING_ROWS, "ua-mt", "self-training", "active-contour", "supervised-all-long", "best",
    "best-agreeing", "oracle", "nnunet",
)  # fmt: skip
"""The keys of ``ROWS``, in its order."""

TOLD_ROWS = ("oracle",)
"""Those that are told the truth of the pseudo-labels."""

EXTERNAL_ROWS = ("nnunet",)
"""Those whose predictions come from another program."""
