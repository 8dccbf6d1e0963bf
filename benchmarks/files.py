"""Writing results so that an interruption never leaves half a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.replacing import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_figure(path: Path, figure: Figure, dpi: int = 130) -> None:
    """Write a figure in the format of the path's suffix."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=dpi)
