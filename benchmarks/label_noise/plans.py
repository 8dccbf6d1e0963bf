"""What the tables on images hold."""

from __future__ import annotations

from benchmarks.sets.setting import Setting
from benchmarks.trials.plans import Plan, TaskPlan

REMEMBERED = ("sample-weights", "weight-net", "soft-labels", "recipe")
ORACLE = ("plain", "plain+trusted", "clean+trusted")
EVERY = (
    *("plain", "random", "trusted", "plain+trusted", "clean+trusted", "loss-table", "per-batch"),
    *("sample-weights", "weight-net", "weight-net-step", "soft-labels", "recipe"),
)
MEMORISED = (*ORACLE, "loss-table", "per-batch", *REMEMBERED)
SHORT = (*ORACLE, "default", "recipe")
PER_BATCH = (*ORACLE, "random", "trusted", "similarity", "default", "mixture", "paper", "recipe")
RARE = ("plain", "plain+trusted", "logit-adjustment", "recipe")

SHORT_RATES, LONG_RATES = (0.01, 0.03, 0.1), (0.003, 0.01, 0.03)


def fashion(noise: str, epochs: int, rows: tuple[str, ...], seeds: int) -> TaskPlan:
    """Return a task on Fashion-MNIST."""
    setting = Setting(f"{noise}-e{epochs}", "fashion", noise, epochs, 100, 5000, 1000)
    rates = SHORT_RATES if epochs <= 10 else LONG_RATES
    return TaskPlan(setting, rows, (100,), rates, seeds)


def photographs(labels: str, epochs: int, rows: tuple[str, ...], seeds: int) -> TaskPlan:
    """Return a task on CIFAR-10N."""
    setting = Setting(f"cifar10n-{labels}", "cifar10n", labels, epochs, 100, 5000, 1000)
    return TaskPlan(setting, rows, (100,), SHORT_RATES, seeds)


# A run of 40 epochs takes half a minute where it is weighed: those have three seeds. The first
# tasks answer the most.
FULL: Plan = (
    fashion("symmetric-40", 40, EVERY, 3),
    fashion("asymmetric-40", 40, MEMORISED, 3),
    fashion("symmetric-40", 10, PER_BATCH, 5),
    fashion("asymmetric-40", 10, (*SHORT, "random", "trusted", "similarity"), 5),
    fashion("teacher", 10, (*SHORT, "soft-labels"), 5),
    fashion("imbalance-100", 10, (*RARE, "recipe+logit-adjustment"), 5),
    photographs("worse", 12, (*ORACLE, "sample-weights", "recipe"), 3),
    fashion("sources-10-70", 20, (*ORACLE, "group-weights", "sample-weights", "recipe"), 3),
    fashion("teacher", 40, (*ORACLE, "soft-labels", "recipe"), 3),
    fashion("symmetric-60", 40, (*ORACLE, "recipe"), 3),
    fashion("imbalance-100", 40, RARE, 3),
    photographs("random1", 12, (*ORACLE, "sample-weights", "recipe"), 3),
    fashion("symmetric-60", 10, SHORT, 5),
    fashion("symmetric-20", 10, SHORT, 5),
    fashion("symmetric-20", 40, (*ORACLE, "recipe"), 3),
)
QUICK: Plan = (
    TaskPlan(
        Setting("quick-symmetric-40", "fashion", "symmetric-40", 10, 100, 1500, 500),
        ("plain", "plain+trusted", "clean+trusted", "similarity", "recipe"),
        (100,),
        (0.03, 0.1),
        2,
    ),
)
PRESETS = {"full": FULL, "quick": QUICK}
