"""A command line, as a report shows it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

_PLACES = ("--data", "--output")


def shown(module: str, words: Sequence[str]) -> str:
    """Return ``python -m module words``, with where things lie on this machine left out."""
    told = []
    for before, word in zip(("", *words), words, strict=False):
        option, equals, _ = word.partition("=")
        if before in _PLACES:
            told.append("PATH")
        else:
            told.append(f"{option}=PATH" if equals and option in _PLACES else shlex.quote(word))
    return " ".join(["python -m", module, *told])
