"""Where the time goes."""

from __future__ import annotations

import pytest
import torch

from benchmarks.meta_step.methods import METHODS
from benchmarks.meta_step.profiling import Profile, markdown, profile_of
from tests.benchmarks.meta_step.problems import small_problem

CPU = torch.device("cpu")


def profile(name):
    return profile_of(METHODS[name](small_problem(batch_norm=False)), CPU)


def test_a_plain_step_is_forward_backward_and_optimiser():
    found = profile("plain")
    assert set(found.phases) == {"training forward", "training backward", "optimiser"}
    assert sum(found.phases.values()) == pytest.approx(sum(found.operators.values()))
    assert all(seconds >= 0 for seconds in found.operators.values())
    assert "aten::addmm" in found.operators


def test_backward_passes_of_the_scores_are_a_phase_of_their_own():
    phases = profile("l2r").phases
    assert {"scores", "scores: its backward passes", "training backward"} <= set(phases)
    assert {"trusted gradient", "trusted gradient: its backward passes"} <= set(
        profile("floor").phases
    )
    assert {
        "scores and training forward",
        "scores and training forward: its backward passes",
    } <= set(profile("default").phases)


def test_the_tables_give_shares_and_multiples_of_plain():
    plain = Profile({"training forward": 1.0}, {"mm": 1.0})
    operators = {f"operator{i}": 3.0 / (i + 1) for i in range(30)}
    text = markdown({"plain": plain, "l2r": Profile({"scores": 3.0, "other": 1.0}, operators)})
    assert "| scores | 3000.0 | 75% | 3.00 |" in text
    assert "| operator0 | 3000.0 | 75% | 3.00 |" in text
    assert "operator14" in text
    assert "operator15" not in text
