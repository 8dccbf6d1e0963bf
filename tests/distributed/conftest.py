from __future__ import annotations

import pytest
import torch.distributed as dist

from tests.distributed.ranks import Ranks


@pytest.fixture(autouse=True)
def _as_the_ranks_are(on_the_cpu):
    """They compute on the CPU, and what they find is compared with what is computed here."""


def _ranks(tmp_path_factory, world):
    if not (dist.is_available() and dist.is_gloo_available()):
        pytest.skip("this build of PyTorch has no gloo backend: no two ranks on the CPU")
    ranks = Ranks(tmp_path_factory.mktemp("ranks"), world)
    yield ranks
    ranks.stop()


@pytest.fixture(scope="session")
def two_ranks(tmp_path_factory):
    """Run a function of a module's top level on two gloo ranks: `two_ranks(function, *args)`."""
    yield from _ranks(tmp_path_factory, 2)


@pytest.fixture(scope="module")
def three_ranks(tmp_path_factory):
    """The same on three."""
    yield from _ranks(tmp_path_factory, 3)
