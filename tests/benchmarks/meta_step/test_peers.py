"""The peers compute what the library computes."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch
from torch import nn

from benchmarks.meta_step.ideas import IDEAS
from benchmarks.meta_step.methods import DEFAULT, METHODS, OURS, PEERS
from benchmarks.meta_step.peers import normalized
from benchmarks.meta_step.problem import Cycle
from benchmarks.meta_step.timing import interleaved
from tests.benchmarks.meta_step.problems import library_says, small_problem, state

# Betty takes central differences along a step of 0.01, in whatever precision.
EXACT = {"rtol": 1e-10, "atol": 1e-12}
DIFFERENCES = {"rtol": 1e-3, "atol": 1e-4}
FILES = {
    "l2r": EXACT,
    "higher_innerloop": EXACT,
    "torchopt_metasgd": EXACT,
    "betty_engine": DIFFERENCES,
    "vmapped": EXACT,
}
NEEDS = {"higher_innerloop": "higher", "betty_engine": "betty"}


def scorer(file, problem):
    if file in NEEDS:
        pytest.importorskip(NEEDS[file])
    return import_module(f"benchmarks.meta_step.peers.{file}").scorer(problem)


ALL = [(file, kind) for file in FILES for kind in ("vectors", "maps", "batch norm")]


@pytest.mark.parametrize(("file", "kind"), [a for a in ALL if a != ("vmapped", "batch norm")])
def test_scores_and_weights_are_the_librarys(file, kind):
    problem = small_problem(batch_norm=kind == "batch norm", maps=kind == "maps")
    expected = library_says(problem)
    scores = scorer(file, problem)
    for _ in range(2):  # a peer that left something behind would differ the second time
        found = scores()
        torch.testing.assert_close(
            found, expected.scores["gradient_similarity"], **FILES[file], check_dtype=False
        )
        torch.testing.assert_close(normalized(found), expected.weights, **FILES[file])
    assert 0 < int((expected.weights > 0).sum()) < len(expected.weights)


@pytest.mark.parametrize("file", FILES)
def test_scores_are_taken_at_the_present_parameters(file):
    problem = small_problem(batch_norm=False)
    scores = scorer(file, problem)
    scores()
    with torch.no_grad():
        for parameter in problem.module.parameters():
            parameter.add_(0.3)
    expected = library_says(problem).scores["gradient_similarity"]
    torch.testing.assert_close(scores(), expected, **FILES[file], check_dtype=False)


@pytest.mark.parametrize("file", [file for file in FILES if file != "vmapped"])
def test_scores_leave_parameters_and_running_statistics_alone(file):
    problem = small_problem(batch_norm=True)
    before = state(problem)
    scorer(file, problem)()
    torch.testing.assert_close(state(problem), before, rtol=0, atol=0)
    assert all(type(p) is nn.Parameter for p in problem.module.parameters())


def test_vmap_refuses_batch_norm_by_pytorchs_own_error():
    with pytest.raises(RuntimeError, match=r"batch norm|in-place"):
        scorer("vmapped", small_problem(batch_norm=True))()


def test_normalized_scores_sum_to_one_or_are_all_zero():
    assert normalized(torch.tensor([3.0, -1.0, 1.0])).tolist() == [0.75, 0.0, 0.25]
    assert normalized(torch.tensor([-3.0, 0.0])).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("name", METHODS)
def test_a_whole_step_moves_the_parameters_and_clears_the_gradients(name):
    if name in ("higher", "betty"):
        pytest.importorskip(name)
    problem = small_problem(batch_norm=False, maps="channels-last" in name)
    before = state(problem)
    METHODS[name](problem)()
    moved = [not torch.equal(value, before[n]) for n, value in state(problem).items()]
    assert all(moved)
    assert all(parameter.grad is None for parameter in problem.module.parameters())


def test_the_trained_model_of_every_peer_is_the_same():
    trained = {}
    exact = ("l2r", "torchopt-metasgd", "vmap", "idea-recorded-tangents", "idea-layer-products")
    for name in exact:
        problem = small_problem(batch_norm=False)
        step = METHODS[name](problem)
        for _ in range(3):
            step()
        trained[name] = state(problem)
    for name in exact[1:]:
        torch.testing.assert_close(trained["l2r"], trained[name])


def test_nothing_is_compiled_beside_what_could_not_be_followed_then():
    assert {*OURS, *PEERS} - {*DEFAULT} == {"compiled"}


def test_no_name_is_given_twice():
    assert len({*OURS, *PEERS, *IDEAS}) == len(OURS) + len(PEERS) + len(IDEAS)


@pytest.mark.parametrize(("name", "same"), [("idea-own-pass", "similarity")])
def test_a_pass_of_its_own_changes_the_price_alone(name, same):
    one, other = small_problem(batch_norm=True), small_problem(batch_norm=True)
    METHODS[name](one)()
    METHODS[same](other)()
    torch.testing.assert_close(state(one), state(other))


def test_a_cycle_makes_all_its_steps_and_is_timed_per_step():
    calls = []
    cycle = Cycle(lambda: calls.append(1), 4)

    class EightSeconds:
        def seconds(self, step):
            step()
            return 8.0

    builders = {"one": lambda: calls.clear, "four": lambda: cycle}
    times = interleaved(builders, 1, 0, EightSeconds())
    assert times.seconds == {"one": [8.0], "four": [2.0]}
    cycle()
    assert len(calls) in (4, 8)
    assert METHODS["similarity-fast"](small_problem(batch_norm=False)).length == 8
