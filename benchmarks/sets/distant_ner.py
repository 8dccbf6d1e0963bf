"""Words of tweets that a knowledge base has labelled as names (distant labels of BOND)."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.errors import UserError
from benchmarks.seeding import generator
from benchmarks.sets.network import build_bag_network
from benchmarks.sets.problem import Problem
from benchmarks.sets.setting import Setting
from benchmarks.sets.text import hashed_words

_FEATURES = 8192


def names_found(predicted: Tensor, labels: Tensor) -> float:
    """Return F1 over the words that are part of a name, of the right kind: 0 means no name."""
    both = ((predicted == labels) & (labels > 0)).sum()
    either = (predicted > 0).sum() + (labels > 0).sum()
    return float(2 * both / either) if either else 0.0


class DistantNer:
    """Files ``train.json``, ``dev.json``, ``test.json`` and ``tag_to_id.json``.

    A sample is a word with its neighbours; begin and inside of a name are one class. The truth of
    the training words is not known, so that there is no oracle.

    Args:
        folder: Where they are.

    Raises:
        UserError: If one is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        digest = hashlib.blake2b(digest_size=8)
        self._words: dict[str, Tensor] = {}
        self._kinds: dict[str, Tensor] = {}
        self._sentence: dict[str, Tensor] = {}
        path = folder / "tag_to_id.json"
        try:
            tags = json.loads(path.read_text(encoding="utf-8"))
            names = sorted({tag[2:] for tag in tags if tag != "O"})
            kind = {
                number: names.index(tag[2:]) + 1 if tag != "O" else 0
                for tag, number in tags.items()
            }
            for part in ("train", "dev", "test"):
                path = folder / f"{part}.json"
                content = path.read_bytes()
                sentences = json.loads(content)
                self._words[part] = hashed_words([s["str_words"] for s in sentences], _FEATURES)
                self._kinds[part] = torch.tensor([kind[t] for s in sentences for t in s["tags"]])
                lengths = torch.tensor([len(s["tags"]) for s in sentences])
                self._sentence[part] = torch.arange(len(sentences)).repeat_interleave(lengths)
                if len(self._words[part]) != len(self._kinds[part]):
                    raise ValueError("words and tags differ in number")
                digest.update(content)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{path} cannot be read as words and their tags ({error!r})."
            ) from error
        self.classes = len(names) + 1
        self.digest = digest.hexdigest()

    def problem(self, setting: Setting, trusted: int, seed: int) -> Problem:
        """Return words and kinds of name; trusted are so many sentences of ``dev.json``.

        The rest of ``dev.json`` is for validation. A source is a kind of name. Nearly every word is
        part of none, so that a trusted batch drawn as it comes would speak against all names.

        Raises:
            UserError: If there are too few sentences.
        """
        sentences = int(self._sentence["dev"].max()) + 1
        if trusted >= sentences:
            raise UserError(f"--trusted {trusted} sentences of {sentences} leave none to validate.")
        order = torch.randperm(sentences, generator=generator(seed, "trusted sentences"))
        is_trusted = torch.isin(self._sentence["dev"], order[:trusted])
        dev_words, dev_kinds = self._words["dev"], self._kinds["dev"]
        pool = self._words["train"], self._kinds["train"]
        if setting.pool:
            kept = torch.randperm(
                int(self._sentence["train"].max()) + 1, generator=generator(seed, "sentences")
            )[: setting.pool]
            inside = torch.isin(self._sentence["train"], kept)
            pool = pool[0][inside], pool[1][inside]

        def network(seed: int, purpose: str) -> nn.Module:
            return build_bag_network(_FEATURES, self.classes, seed, purpose)

        return Problem(
            pool=pool,
            truth=None,
            trusted=(dev_words[is_trusted], dev_kinds[is_trusted]),
            validation=(dev_words[~is_trusted], dev_kinds[~is_trusted]),
            test=(self._words["test"], self._kinds["test"]),
            classes=self.classes,
            network=network,
            optimizer="adam",
            balanced=True,
            metric=names_found,
        )
