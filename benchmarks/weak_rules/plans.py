"""What the tables on labels by rules and by a knowledge base hold."""

from __future__ import annotations

from benchmarks.sets.setting import Setting
from benchmarks.trials.plans import Plan, TaskPlan

ROWS = (
    *("plain", "random", "trusted", "plain+trusted", "clean+trusted", "loss-table"),
    *("default", "sample-weights", "group-weights", "mended-labels"),
    *("plain+trusted-1", "mended-labels-1", "bootstrap-50"),
)
NAMES = (
    *("plain", "random", "trusted", "plain+trusted", "loss-table"),
    *("sample-weights", "group-weights", "mended-labels"),
)
TEXTS = "trusted texts a class"


def rules(source: str, rows: tuple[str, ...], sizes: tuple[int, ...], seeds: int) -> TaskPlan:
    """Return a task on texts, a sample for each rule that spoke of a text."""
    setting = Setting(f"{source}-rules", source, "pairs", epochs=15, batch=64)
    return TaskPlan(setting, rows, sizes, (0.0003, 0.001, 0.003), seeds, tuned_on=2, unit=TEXTS)


FULL: Plan = (
    rules("hausa", ROWS, (5, 20), 5),
    rules("youtube", ROWS, (5, 20), 5),
    TaskPlan(
        Setting("distant-names", "ner", "", epochs=5, batch=256),
        NAMES,
        (50, 200),
        (0.003, 0.01, 0.03),
        3,
        unit="trusted sentences",
    ),
)
QUICK: Plan = (
    TaskPlan(
        Setting("quick-youtube-rules", "youtube", "pairs", epochs=5, batch=64),
        ("plain", "random", "plain+trusted", "sample-weights"),
        (5,),
        (0.001, 0.003),
        2,
        unit=TEXTS,
    ),
)
PRESETS = {"full": FULL, "quick": QUICK}
