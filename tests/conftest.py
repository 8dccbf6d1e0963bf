from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from reweight import meta_reweighter
from tests import device
from tests.compatibility.page import CompatibilityPage
from tests.problems import PROBLEMS, Case

settings.register_profile(
    "dev", deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ci", settings.get_profile("dev"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


if os.environ.get(device.VARIABLE):  # these choose their device themselves
    collect_ignore = ["benchmarks", "covid3d"]


def pytest_addoption(parser):
    parser.addoption(
        "--compatibility-page", type=Path, help="write what tests marked compatibility found here"
    )


def pytest_configure(config):
    asked = device.wanted()
    if asked is not None:
        torch.set_default_device(asked)
    page = CompatibilityPage(config.getoption("--compatibility-page"))
    config.pluginmanager.register(page, "compatibility-page")


@pytest.fixture
def one_way(monkeypatch):
    """Let ``auto`` take forward mode in every step: steps are compared that are alike."""
    monkeypatch.setattr(meta_reweighter, "may_be_timed", lambda _: False)


@pytest.fixture
def on_the_cpu():
    """For what is about loaders, or processes that have no other device."""
    before = torch.get_default_device()
    if before.type != "cpu":
        torch.set_default_device("cpu")
    yield
    if before.type != "cpu":
        torch.set_default_device(before)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(1234)


@pytest.fixture(autouse=True, scope="module")
def one_thread(request):
    """Threads only slow small tensors down; what trains a network may have them."""
    before = torch.get_num_threads()
    if not {"benchmarks", "covid3d"} & set(request.path.parts):
        torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=PROBLEMS)
def case(request) -> Case:
    """Every problem in turn, made afresh."""
    return PROBLEMS[request.param]()


@pytest.fixture(autouse=True, scope="module")
def nothing_compiled():
    """What tests before have compiled would keep training passes from being followed."""
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()
