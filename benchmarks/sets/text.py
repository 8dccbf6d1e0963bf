"""Texts as numbers, without a vocabulary."""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

FEATURES = 4096


def hashed_texts(texts: Sequence[str], features: int = FEATURES) -> Tensor:
    """Return words, pairs of words and runs of 3 and 4 letters, counted by hash.

    Args:
        texts: The N texts.
        features: How many columns; what falls into one column by chance is told apart by no one.

    Returns:
        ``(N, features)``: log(1 + count) with a sign by hash, each row of length 4.
    """
    table = np.zeros((len(texts), features), dtype=np.float32)
    for row, text in zip(table, texts, strict=True):
        codes = np.array([zlib.crc32(token.encode()) for token in _tokens(text)], dtype=np.int64)
        np.add.at(row, codes % features, np.where((codes >> 20) & 1, 1.0, -1.0))
    counts = torch.from_numpy(table)
    logs = counts.sign() * counts.abs().log1p()
    scaled: Tensor = 4 * logs / logs.norm(dim=1, keepdim=True).clamp(min=1e-9)
    return scaled


def _tokens(text: str) -> Iterator[str]:
    words = re.findall(r"\w+|[^\w\s]", text.lower().replace("\ufeff", ""))
    yield from (f"w:{word}" for word in words)
    yield from (f"b:{first} {second}" for first, second in itertools.pairwise(words))
    spelt = f" {' '.join(words)} "
    for length in (3, 4):
        yield from (
            f"c:{spelt[start : start + length]}" for start in range(len(spelt) - length + 1)
        )


def hashed_words(sentences: Sequence[Sequence[str]], features: int) -> Tensor:
    """Return what describes each word in its sentence, as numbers of features.

    Args:
        sentences: Their words.
        features: How many numbers there are.

    Returns:
        ``(words, 20)`` int64, the words of all sentences in a row.
    """
    rows = []
    for words in sentences:
        padded = ["<s>", "<s>", *words, "</s>", "</s>"]
        for place, word in enumerate(words, start=2):
            found = [f"{step}={padded[place + step].lower()}" for step in (-2, -1, 0, 1, 2)]
            found += [f"s{step}={_shape(padded[place + step])}" for step in (-1, 0, 1)]
            low = word.lower()
            found += [f"p{n}={low[:n]}" for n in (1, 2, 3, 4)]
            found += [f"e{n}={low[-n:]}" for n in (1, 2, 3, 4)]
            found += [f"pair={padded[place - 1].lower()} {low}"]
            found += [f"next={low} {padded[place + 1].lower()}"]
            found += [f"n={min(len(word), 12)}", "bias"]
            rows.append([zlib.crc32(name.encode()) % features for name in found])
    return torch.tensor(rows, dtype=torch.long)


def _shape(word: str) -> str:
    kinds = re.sub(r"[A-ZÀ-Þ]", "A", re.sub(r"[a-zß-ÿ]", "a", re.sub(r"\d", "0", word)))
    return re.sub(r"(.)\1+", r"\1", kinds)
