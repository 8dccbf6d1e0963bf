"""Which patient a scan belongs to, and what patients are for."""

from __future__ import annotations

import re

ROLES = ("teacher", "trusted", "unlabelled", "test")
"""What a scan is for, in the order in which shares and counts are given."""

_RADIOPAEDIA = re.compile(r"(radiopaedia_\d+_\d+)_\d+")


def patient_of(name: str) -> str:
    """Patient of a scan of the COVID-19-CT-Seg Benchmark.

    ``radiopaedia_10_85902_1`` and ``_3`` are two series of case 10, study 85902: one patient. A
    ``coronacases`` scan, or one named in any other way, is a patient of its own.
    """
    match = _RADIOPAEDIA.fullmatch(name)
    return match.group(1) if match else name
