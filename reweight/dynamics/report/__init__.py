"""A table of label issues as one HTML file that opens anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reweight.dynamics.label_issues import LabelIssues
from reweight.dynamics.report.page import page
from reweight.dynamics.whole_files import written_whole

__all__ = ["write_report"]


def write_report(
    path: Path, issues: LabelIssues, *, images: Any, texts: Any, title: str, worst: int
) -> Path:
    """Write the report; :meth:`reweight.TrainingDynamics.report` says what it takes."""
    whole = page(issues, images=images, texts=texts, title=title, worst=worst)
    with written_whole(path) as file:
        file.write(whole)
    return path
