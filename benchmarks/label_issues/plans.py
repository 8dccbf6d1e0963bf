"""On which sets wrong labels are looked for, and how."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.label_noise.plans import fashion, photographs
from benchmarks.sets.setting import Setting
from benchmarks.trials.plans import Plan, TaskPlan
from benchmarks.weak_rules.plans import rules

EPOCHS = 15
ROWS = ("mended-labels", "sample-weights", "plain", "folds", "trusted")


def _finding(plan: TaskPlan, noise: str | None = None, name: str | None = None) -> TaskPlan:
    setting = plan.setting
    setting = replace(setting, name=name or setting.name, noise=noise or setting.noise, finds=True)
    return replace(plan, setting=setting, rows=ROWS, rates=plan.rates[-2:])


FULL: Plan = (
    *(
        _finding(fashion(noise, EPOCHS, ROWS, 3))
        for noise in ("symmetric-40", "asymmetric-40", "teacher")
    ),
    _finding(photographs("worse", 12, ROWS, 3)),
    _finding(rules("hausa", ROWS, (20,), 3), "votes", "hausa-votes"),
    _finding(rules("youtube", ROWS, (20,), 3), "votes", "youtube-votes"),
    _finding(fashion("symmetric-20", EPOCHS, ROWS, 3)),
    _finding(photographs("random1", 12, ROWS, 3)),
)
QUICK: Plan = (
    TaskPlan(
        Setting("quick-symmetric-40", "fashion", "symmetric-40", 5, 100, 1500, 500, finds=True),
        ROWS,
        (100,),
        (0.03, 0.1),
        2,
    ),
)
PRESETS = {"full": FULL, "quick": QUICK}
