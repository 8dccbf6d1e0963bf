"""Peaks: of what is known, and in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from benchmarks.meta_step import memory_process
from benchmarks.meta_step.failure import Failure
from benchmarks.meta_step.memory import ALLOCATOR, peak_of, resident_is_readable
from benchmarks.meta_step.memory_process import peak_in_own_process
from benchmarks.meta_step.models import Setup
from tests.benchmarks.meta_step.problems import small_problem

MIB = 2**18  # float32 values
CPU = torch.device("cpu")
SMALL = Setup("mlp", size=16, batch=2, trusted_batch=2)


def allocates(count):
    return lambda: torch.ones(count * MIB).add_(1)


KNOWN = """
import json, torch
from dataclasses import asdict
from benchmarks.meta_step.memory import peak_of

def step():
    first = torch.ones(8 * 2**18)
    del first
    both = torch.ones(16 * 2**18), torch.ones(24 * 2**18)
    del both

print(json.dumps(asdict(peak_of(lambda: step, 2, torch.device("cpu")))))
"""


def test_the_peak_is_what_is_held_at_once():
    """In a process of its own, as a method's is: what ran before marks an allocator."""
    done = subprocess.run(
        [sys.executable, "-c", KNOWN],
        env={**os.environ, **ALLOCATOR},
        capture_output=True,
        text=True,
        check=True,
    )
    peak = json.loads(done.stdout)
    assert peak["tensors"] == pytest.approx(40, abs=1)
    if resident_is_readable():
        assert peak["resident"] == pytest.approx(40, abs=12)


def test_what_a_method_keeps_is_counted():
    def build():
        kept = torch.ones(32 * MIB)
        return lambda: kept.add(1)

    assert peak_of(build, 1, CPU).tensors == pytest.approx(64, abs=1)


def test_the_resident_memory_of_a_compiled_model_is_not_measured():
    assert peak_of(lambda: allocates(1), 1, CPU, compiled=True).resident is None


def test_the_momentum_exists_before_the_first_step_and_nothing_has_moved():
    problem = small_problem(batch_norm=False)
    other = small_problem(batch_norm=False)
    for parameter, same in zip(problem.module.parameters(), other.module.parameters(), strict=True):
        momentum = problem.optimizer.state[parameter]["momentum_buffer"]
        assert momentum.shape == parameter.shape
        assert not momentum.any()
        assert parameter.grad is None
        assert torch.equal(parameter, same)


def test_an_error_in_the_other_process_comes_back_as_one():
    batch_of_one = Setup("mlp", size=16, batch=0, trusted_batch=2)  # a mean of nothing is NaN
    found = peak_in_own_process("default", batch_of_one, own_allocator=False)
    assert isinstance(found, Failure)
    assert found.reason.partition(":")[0].endswith("Error")


@pytest.mark.parametrize(
    ("status", "said", "reason"),
    [
        (-9, "", "out of memory (killed by the system)"),
        (1, "Traceback\nValueError: no", "process ended with status 1: ValueError: no"),
        (-11, "", "process ended with status -11: no message"),
    ],
)
def test_a_process_that_ends_badly_is_a_failure(monkeypatch, status, said, reason):
    def run(*arguments, **_):
        return subprocess.CompletedProcess(arguments, status, stdout="", stderr=said)

    monkeypatch.setattr(memory_process.subprocess, "run", run)
    assert peak_in_own_process("plain", SMALL, own_allocator=True) == Failure(reason)


@pytest.mark.parametrize("own", [True, False])
def test_the_allocator_is_set_unless_it_is_to_be_its_own(monkeypatch, own):
    monkeypatch.delenv("MALLOC_MMAP_THRESHOLD_", raising=False)
    seen = {}

    def run(*arguments, env, **_):
        seen.update(env)
        answer = '{"tensors": 1.0, "resident": null}\n'
        return subprocess.CompletedProcess(arguments, 0, stdout=answer, stderr="")

    monkeypatch.setattr(memory_process.subprocess, "run", run)
    assert peak_in_own_process("plain", SMALL, own_allocator=own).tensors == 1
    assert ("MALLOC_MMAP_THRESHOLD_" not in seen) == own
