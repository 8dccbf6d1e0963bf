"""Assessments for tests that judge nothing."""

from __future__ import annotations

import math

from examples.covid3d.audit.parts import Parts
from examples.covid3d.audit.quality import Assessment


def assessment(scan: str, quality: float, doubt: str = "none", agreement: float = 0.5):
    parts = Parts(
        agreement=agreement,
        shift_mm=1.0,
        volume_ratio=math.nan,
        roughness=1.0,
        memory=math.nan,
        loss=2.0,
    )
    return Assessment(scan, quality, doubt, f"{doubt} in words", 1 / quality, {}, parts)
