"""What a row's entry says is what its training does."""

import dataclasses

import pytest
import torch

from examples.covid3d.methods import rows
from examples.covid3d.methods.rows import ROWS
from examples.covid3d.run import stages
from examples.covid3d.run.context import Context
from examples.covid3d.run.stages import train_student
from reweight import GradientSimilarity, Uniform
from tests.covid3d.running import TRAINED

BEYOND = ("best", "best-agreeing", "supervised-all-long")


@pytest.fixture
def settings(taught, tmp_path, monkeypatch):
    """The settings and length that a row is trained with."""

    def of(method):
        found = []
        monkeypatch.setattr(
            stages, "train", lambda *_, **rest: found.append((rest["config"], rest["length"]))
        )
        train_student(taught, taught.replicates()[0], method, tmp_path)
        return found[0]

    return of


@pytest.mark.parametrize("method", TRAINED)
def test_rates_and_schedules_are_the_run_s_unless_the_row_says_otherwise(taught, settings, method):
    config, _ = settings(method)
    own = method in BEYOND
    assert config.schedule == ("constant" if own else taught.config.schedule) != "cosine"
    rate = taught.config.learning_rate * (0.3 if own else 1)
    assert config.learning_rate == pytest.approx(rate)
    rest = {"schedule": taught.config.schedule, "learning_rate": taught.config.learning_rate}
    assert dataclasses.replace(config, **rest) == taught.config


def test_the_long_row_has_the_time_of_the_best(settings):
    lengths = {method: settings(method)[1].steps for method in (*BEYOND, "supervised-all")}
    # The teacher's 4 steps and a student's 8.
    assert lengths["supervised-all"] == 12
    assert lengths["best"] == lengths["best-agreeing"] == 36
    assert lengths["supervised-all-long"] == round(36 * 1.55)


@pytest.fixture
def options(taught, tmp_path, monkeypatch):
    """What the reweighter of a row is given."""

    def of(method):
        given = {}

        def noted(*_args, **kwargs):
            given.update(kwargs)
            raise StopIteration

        for name in ("reweighted", "following"):
            module = getattr(rows, name)
            monkeypatch.setattr(module, "MetaReweighter", noted)
        (replicate,) = taught.replicates()
        lesson = taught.lesson(replicate, tmp_path)
        with pytest.raises(StopIteration):
            ROWS[method].recipe(lesson, lesson.initial_network())
        return given

    return of


@pytest.mark.parametrize(
    ("method", "scorer"),
    [
        ("equal-trusted", Uniform),
        ("best", Uniform),
        ("best-agreeing", GradientSimilarity),
        ("rgs", GradientSimilarity),
    ],
)
def test_scores_are_those_that_the_row_names(options, method, scorer):
    given = options(method)
    assert type(given["scorer"]) is scorer
    assert given.get("trusted_coefficient", 0.0) == (0.0 if method == "rgs" else 1.0)
    assert given.get("granularity", "sample") == (
        "element" if method == "best-agreeing" else "sample"
    )


def test_agreeing_voxels_all_weigh_the_same():
    weights = torch.tensor([[0.0, 0.7], [0.1, 0.0]])
    assert rows.agreeing(weights).tolist() == [[0.0, 0.25], [0.25, 0.0]]


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_groups_without_teacher_scans_begin_with_the_first(taught, tmp_path, groups):
    (replicate,) = taught.replicates()
    replicate = dataclasses.replace(replicate, roles={**replicate.roles, "teacher": ()})
    config = dataclasses.replace(taught.config, groups=groups, student_steps=6)
    context = Context(dataclasses.replace(taught.run, config=config), taught.device)
    lesson = context.lesson(replicate, tmp_path)
    recipe = ROWS["semi-supervised"].recipe(lesson, lesson.initial_network())
    phases, final = [], []
    for step in range(6):
        phases.append(recipe(step).row["phase"])
        final.append(recipe.final)
    expected = {1: [1] * 6, 2: [1, 1, 1, 2, 2, 2], 3: [1, 1, 2, 2, 3, 3]}
    assert phases == expected[groups]
    assert final == [phase == groups for phase in expected[groups]]
