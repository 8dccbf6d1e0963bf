"""What the tables on images hold."""

from __future__ import annotations

from benchmarks.sets.setting import Setting
from benchmarks.trials.plans import Plan, TaskPlan

BESIDE = ("plain", "plain+trusted", "clean+trusted")
SHORT = (*BESIDE, "default", "sample-weights", "mended-labels")
WHOLE = ("plain+trusted-1", "mended-labels-1")
BOOTSTRAPS = ("bootstrap-88", "bootstrap-50")
MEMORISED = (
    *(*BESIDE, "plain+trusted-1", "loss-table", "sample-weights", "mended-labels"),
    *BOOTSTRAPS,
)
RARE = ("plain", "plain+trusted", "default", "sample-weights", "mended-labels", "logit-adjustment")
CONTROLS = ("random", "trusted", "loss-table")
PER_BATCH = ("per-batch", "similarity", "mixture", "learnt-mixture", "paper")
REMEMBERED = ("weight-net", "weight-net-step", "sum", "soft-labels", "mended+net")

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


# A run of 40 epochs takes half a minute where it is weighed. An hour and a quarter on two cores.
FULL: Plan = (
    fashion("symmetric-40", 40, MEMORISED, 3),
    fashion("asymmetric-40", 40, MEMORISED, 3),
    fashion(
        "symmetric-40", 10, (*SHORT, *WHOLE, *CONTROLS, *BOOTSTRAPS, *PER_BATCH, *REMEMBERED), 3
    ),
    fashion("asymmetric-40", 10, (*SHORT, *WHOLE, "random", "loss-table", *BOOTSTRAPS), 3),
    photographs("worse", 12, (*SHORT, *WHOLE, *BOOTSTRAPS, "random", "mended-labels-0"), 3),
    fashion("teacher", 10, (*SHORT, *WHOLE, *BOOTSTRAPS), 3),
    fashion("imbalance-100", 10, RARE, 3),
)
# Less than as long again; docs/when-it-helps.md does not speak of the last three, the longest.
MORE: Plan = (
    photographs("random1", 12, SHORT, 3),
    fashion("sources-10-70", 20, (*SHORT, "group-weights"), 3),
    fashion("symmetric-60", 10, SHORT, 3),
    fashion("symmetric-20", 10, SHORT, 3),
    fashion("teacher", 40, (*BESIDE, "sample-weights", "mended-labels"), 3),
    fashion(
        "imbalance-100", 40, ("plain", "sample-weights", "mended-labels", "logit-adjustment"), 3
    ),
    fashion("symmetric-60", 40, (*BESIDE, "sample-weights", "mended-labels"), 3),
)
QUICK: Plan = (
    TaskPlan(
        Setting("quick-symmetric-40", "fashion", "symmetric-40", 10, 100, 1500, 500),
        ("plain", "plain+trusted", "clean+trusted", "similarity", "sample-weights"),
        (100,),
        (0.03, 0.1),
        2,
    ),
)
PRESETS = {"full": FULL, "more": MORE, "quick": QUICK}
