"""Settings: what is refused, and what survives the disk."""

import dataclasses
import math

import pytest
import torch

from examples.covid3d.common.config import STAGES, Config, from_json, settings_of, to_json
from examples.covid3d.common.errors import UserError
from examples.covid3d.methods.rows import ROWS
from examples.covid3d.run.presets import PRESETS
from examples.covid3d.train.network import initial_network


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_name_rows_that_there_are(name):
    assert set(PRESETS[name].methods) <= set(ROWS)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_settings_survive_the_disk(name):
    assert from_json(to_json(PRESETS[name])) == PRESETS[name]
    assert PRESETS[name].preset == name


def test_every_setting_that_matters_redoes_some_stage():
    read = {name for stage in STAGES for name in settings_of(Config(), stage)}
    every = {field.name for field in dataclasses.fields(Config)}
    # None of these changes any result.
    assert every - read == {"preset", "checkpoint_every", "tensorboard", "max_rejected"}


def test_settings_of_another_version_are_refused():
    with pytest.raises(UserError, match="colour"):
        from_json({"colour": "red"})


@pytest.mark.parametrize(
    "change",
    [
        {"patch": (2, 32, 32)},
        {"patch": (33, 32, 32)},
        {"teacher_steps": 0},
        {"spacing": (1.0, 0.0, 1.0)},
        {"overlap": 1.0},
        {"student_start": "pretrained"},
        {"seeds": (-1,)},
        {"seeds": (1, 1)},
        {"seeds": ()},
        {"patch": (8, 8, 8), "channels": (4, 8, 16, 32)},
        {"channels": (4,)},
        {"shares": (1, 1, 1, 0)},
        {"shares": (-1, 1, 1, 1)},
        {"window": (250.0, -1250.0)},
        {"foreground_labels": (0,)},
        {"flip_axes": (3,)},
        {"amp": "fp8"},
        {"keep": "first"},
        {"intensity": "mr"},
        {"schedule": "step"},
        {"folds": 0},
        {"patience": 0},
        {"mixing": 1.5},
        {"jitter": -0.1},
        {"nsd_tolerance": 0.0},
        {"norm": "layer"},
        {"learning_rate": math.nan},
        {"learning_rate": math.inf},
        {"spacing": (1.0, math.nan, 1.0)},
        {"window": (-math.inf, 250.0)},
        {"shares": (1.0, 1.0, 1.0, math.inf)},
        {"spacing": (1.0, 1.0)},
        {"patch": (32, 32)},
        {"window": (1.0, 2.0, 3.0)},
        {"shares": (1, 1, 1)},
        {"phantoms": (1, 1, 1)},
        {"flip_axes": (0, 0)},
        {"seeds": (2**31,)},
        {"seeds": (0, 10**30)},
    ],
)
def test_settings_that_cannot_work_are_refused(tiny, change):
    with pytest.raises(UserError, match="To mend it"):
        dataclasses.replace(tiny, **change)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 2.5),
        ("batch_size", "4"),
        ("batch_size", True),
        ("patch", [32.0, 32, 32]),
        ("patch", 32),
        ("seeds", ["a"]),
        ("methods", "equal"),
        ("data", 3),
        ("tensorboard", "yes"),
        ("learning_rate", None),
        ("keep", 1),
        ("teacher_epochs", "ten"),
    ],
)
def test_settings_of_another_type_in_an_edited_file_are_named(tiny, name, value):
    with pytest.raises(UserError, match=rf"config.json: {name} is[\s\S]*To mend it"):
        from_json(to_json(tiny) | {name: value})


def test_the_largest_seed_draws(tiny):
    config = dataclasses.replace(tiny, seeds=(2**31 - 1,))
    assert initial_network(config.seeds[0], torch.device("cpu"), config.channels) is not None
