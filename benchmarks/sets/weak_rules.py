"""Texts that hand-written rules have labelled, in WRENCH's format (Zhang et al. 2021)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.errors import UserError
from benchmarks.seeding import generator
from benchmarks.sets.network import build_text_network
from benchmarks.sets.problem import Problem
from benchmarks.sets.setting import Setting
from benchmarks.sets.text import FEATURES, hashed_texts


@dataclass(frozen=True, eq=False)
class _Part:
    inputs: Tensor  # (n, features)
    labels: Tensor  # (n,)
    said: Tensor  # (n, rules): what each rule said, -1: nothing


class WeakRules:
    """Three files, ``train.json``, ``valid.json`` and ``test.json``.

    Args:
        folder: Where they are.

    Raises:
        UserError: If one is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        digest = hashlib.blake2b(digest_size=8)
        parts = []
        for name in ("train", "valid", "test"):
            path = folder / f"{name}.json"
            try:
                content = path.read_bytes()
                entries = list(json.loads(content).values())
                texts = [entry["data"]["text"] for entry in entries]
                labels = torch.tensor([int(entry["label"]) for entry in entries])
                said = torch.tensor([entry["weak_labels"] for entry in entries])
                parts.append(_Part(hashed_texts(texts), labels, said))
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise UserError(
                    f"{path} cannot be read as texts labelled by rules ({error!r})."
                ) from error
            digest.update(content)
        self._train, self._valid, self._test = parts
        self.digest = digest.hexdigest()

    def problem(self, setting: Setting, trusted: int, seed: int) -> Problem:
        """Return a task: ``pairs`` has a sample for each rule that spoke of a text.

        ``votes`` has one a text, labelled by most of its rules, ties broken by chance. ``trusted``
        is per class; those texts are taken out of the pool.

        Raises:
            UserError: If a class has too few texts.
        """
        train, classes = self._train, int(self._train.labels.max()) + 1
        chosen = self._trusted(trusted, classes, seed)
        rest = torch.ones(len(train.labels), dtype=torch.bool)
        rest[chosen] = False
        if setting.noise == "pairs":
            texts, rules = ((train.said >= 0) & rest[:, None]).nonzero(as_tuple=True)
            given = train.said[texts, rules]
        else:
            texts, given = _majority(train.said, rest, classes, seed)
            rules = given
        _, groups = torch.unique(rules * classes + given, return_inverse=True)

        def network(seed: int, purpose: str) -> nn.Module:
            return build_text_network(FEATURES, classes, seed, purpose)

        return Problem(
            pool=(train.inputs[texts], given),
            truth=train.labels[texts],
            trusted=(train.inputs[chosen], train.labels[chosen]),
            validation=(self._valid.inputs, self._valid.labels),
            test=(self._test.inputs, self._test.labels),
            classes=classes,
            network=network,
            optimizer="adam",
            groups=groups,
            items=torch.unique(texts, return_inverse=True)[1],
        )

    def _trusted(self, count: int, classes: int, seed: int) -> Tensor:
        stream, found = generator(seed, "trusted texts"), []
        for c in range(classes):
            members = (self._train.labels == c).nonzero().flatten()
            if count >= len(members):
                raise UserError(
                    f"--trusted {count} texts a class are too many: class {c} has {len(members)}."
                )
            # A small trusted set lies in the large one.
            found.append(members[torch.randperm(len(members), generator=stream)][:count])
        return torch.cat(found)


def _majority(said: Tensor, rest: Tensor, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    votes = torch.stack([(said == c).sum(dim=1) for c in range(classes)], dim=1)
    ties = torch.rand(votes.shape, generator=generator(seed, "ties")) / 2
    texts = (rest & (votes.sum(dim=1) > 0)).nonzero().flatten()
    return texts, (votes + ties)[texts].argmax(dim=1)
