"""What the tables on images hold."""

from __future__ import annotations

from benchmarks.sets.setting import Setting
from benchmarks.trials.plans import Plan, TaskPlan

CONTROLS = ("plain", "random", "trusted", "plain+trusted", "clean", "clean+trusted", "loss-table")
PER_BATCH = ("similarity", "mixture", "paper")
REMEMBERED = ("sample-weights",)
EVERY = (*CONTROLS, *PER_BATCH, *REMEMBERED, "recipe")
SHORT = ("plain", "random", "trusted", "plain+trusted", "clean+trusted", "similarity", "recipe")
LONG = ("plain", "plain+trusted", "clean+trusted", "loss-table", "sample-weights", "recipe")
RARE = (
    *("plain", "plain+trusted", "logit-adjustment", "sample-weights"),
    *("recipe", "recipe+logit-adjustment"),
)
SOURCES = ("plain", "plain+trusted", "clean+trusted", "group-weights", "sample-weights", "recipe")

RATES = (0.01, 0.03, 0.1)


def fashion(noise: str, epochs: int, rows: tuple[str, ...], seeds: int) -> TaskPlan:
    """Return a task on Fashion-MNIST."""
    setting = Setting(f"{noise}-e{epochs}", "fashion", noise, epochs, 100, 5000, 1000)
    return TaskPlan(setting, rows, (100,), RATES, seeds)


def photographs(labels: str, epochs: int, rows: tuple[str, ...], seeds: int) -> TaskPlan:
    """Return a task on CIFAR-10N."""
    setting = Setting(f"cifar10n-{labels}", "cifar10n", labels, epochs, 100, 5000, 1000)
    return TaskPlan(setting, rows, (100,), RATES, seeds)


FULL: Plan = (
    fashion("symmetric-40", 40, EVERY, 3),
    fashion("asymmetric-40", 40, EVERY, 3),
    *(
        fashion(noise, 10, SHORT, 5)
        for noise in ("symmetric-20", "symmetric-40", "symmetric-60", "asymmetric-40", "teacher")
    ),
    fashion("imbalance-100", 10, RARE, 5),
    fashion("teacher", 40, LONG, 3),
    fashion("imbalance-100", 40, RARE, 3),
    fashion("symmetric-60", 40, LONG, 3),
    fashion("symmetric-20", 40, LONG, 3),
    fashion("sources-10-70", 20, SOURCES, 3),
    photographs("worse", 20, LONG, 3),
    photographs("random1", 20, LONG, 3),
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
