"""Which data sets there are, and where each lies in a folder of them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.sets.cifar10n import Cifar10N
from benchmarks.sets.distant_ner import DistantNer
from benchmarks.sets.fashion import Fashion
from benchmarks.sets.setting import DataSet
from benchmarks.sets.weak_rules import WeakRules


@dataclass(frozen=True)
class Source:
    """A data set.

    Attributes:
        read: Reads it from its folder.
        places: Its folder, from the folder that is given; the first that holds ``sign`` is taken.
        sign: The beginning of a file's name by which it is known.
        what: For messages.
    """

    read: Callable[[Path], DataSet]
    places: tuple[str, ...]
    sign: str
    what: str

    def find(self, folder: Path) -> Path | None:
        """Return the folder of this data set, in or below the one given, or ``None``."""
        for place in self.places:
            if next((folder / place).glob(f"{self.sign}*"), None) is not None:
                return folder / place
        return None


SOURCES: Mapping[str, Source] = {
    "fashion": Source(Fashion, (".", "fashion_mnist"), "train-images-idx3", "Fashion-MNIST, IDX"),
    "cifar10n": Source(Cifar10N, (".", "cifar10n"), "train.npz", "CIFAR-10N"),
    "youtube": Source(WeakRules, ("weak_rules/youtube", "youtube"), "train.json", "rules, spam"),
    "hausa": Source(WeakRules, ("weak_rules/hausa", "hausa"), "train.json", "rules, headlines"),
    "ner": Source(DistantNer, ("distant_ner", "."), "tag_to_id.json", "distant names"),
}
