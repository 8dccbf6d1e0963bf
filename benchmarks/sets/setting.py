"""What a training's result depends on, besides its row, learning rate and seed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Protocol

from benchmarks.sets.problem import Problem


@dataclass(frozen=True)
class Setting:
    """A task: data, the noise in them, and how long a network is trained on them.

    Attributes:
        name: In tables and file names.
        source: Which data set, as on the command line.
        noise: Which of its noises.
        epochs: Rounds of the pool.
        batch: Samples of the pool per batch, and trusted samples where there are as many.
        pool: Samples to train on; 0: all there are.
        validation: Validation samples; 0: all there are.
        finds: Whether wrong labels are looked for.
        data: Digest of the data set.
        torch: Version.
    """

    name: str
    source: str
    noise: str
    epochs: int
    batch: int = 100
    pool: int = 0
    validation: int = 0
    finds: bool = False
    data: str = ""
    torch: str = ""

    @property
    def fingerprint(self) -> str:
        """A digest of all of it."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class DataSet(Protocol):
    """A data set that has been read.

    Attributes:
        digest: Of its content, to tell data sets apart.
    """

    digest: str

    def problem(self, setting: Setting, trusted: int, seed: int) -> Problem:
        """Return the tensors of a task, of a size of trusted set and of a seed.

        Raises:
            UserError: If the data are too few, or a size does not fit them.
        """
        ...
