"""What a run's result depends on, and which runs a command asks for."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from benchmarks.label_noise.methods import METHODS
from benchmarks.label_noise.noise import NOISES, Confusions


@dataclass(frozen=True)
class Settings:
    """What every run of an output folder shares.

    Attributes:
        pool: Noisy training images.
        validation: Validation images.
        batch: Noisy images per batch, and trusted images where there are as many.
        epochs: Rounds of the pool.
        momentum: Of SGD.
        teacher_rate: Learning rate of the teacher whose labels are the noise ``teacher``.
        confusions: What asymmetric noise mixes up.
        data: Digest of the data set.
        torch: Version.
    """

    pool: int
    validation: int
    batch: int
    epochs: int
    momentum: float
    teacher_rate: float
    confusions: Confusions
    data: str
    torch: str

    @property
    def steps_per_epoch(self) -> int:
        """The same for every method, those that train on the trusted set alone included."""
        return max(1, self.pool // self.batch)

    @property
    def fingerprint(self) -> str:
        """A digest of all settings."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class Plan:
    """Which runs to make.

    Attributes:
        noises: Their names, in the order of work.
        methods: Their names.
        trusted: Sizes of trusted sets.
        rates: Learning rates to choose from.
        seeds: How many, from 0 on.
    """

    noises: tuple[str, ...]
    methods: tuple[str, ...]
    trusted: tuple[int, ...]
    rates: tuple[float, ...]
    seeds: int

    def with_tuples(self) -> Plan:
        """Return the plan as it was before JSON made its tuples lists."""
        return Plan(
            tuple(self.noises),
            tuple(self.methods),
            tuple(self.trusted),
            tuple(self.rates),
            int(self.seeds),
        )


# At 0.3 every method diverged or did worse under symmetric-40.
FULL = Plan(NOISES, tuple(METHODS), (100, 1000), (0.01, 0.03, 0.1), 5)
QUICK = Plan(
    ("symmetric-40",),
    ("plain", "random", "trusted", "mixed", "rgs-all", "rgsm"),
    (1000,),
    (0.03, 0.1),
    2,
)
PLANS = {"full": FULL, "quick": QUICK}
EPOCHS = {"full": 10, "quick": 5}
