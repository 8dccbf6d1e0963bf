"""Command lines: options they share, and how a report shows them."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence

_PLACES = tuple(
    f"--{place}" for place in ("data", "output", "fashion", "cifar10n", "youtube", "hausa", "ner")
)


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


def positive(text: str) -> int:
    """Return a whole number above 0, for ``argparse``.

    Raises:
        ArgumentTypeError: If it is none.
    """
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)
