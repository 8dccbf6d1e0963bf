from __future__ import annotations

import pytest
import torch.distributed as dist

from tests.distributed.ranks import Ranks


@pytest.fixture(scope="session")
def two_ranks(tmp_path_factory):
    """Run a function of a module's top level on two gloo ranks: `two_ranks(function, *args)`."""
    if not (dist.is_available() and dist.is_gloo_available()):
        pytest.skip("this build of PyTorch has no gloo backend: no two ranks on the CPU")
    ranks = Ranks(tmp_path_factory.mktemp("ranks"))
    yield ranks
    ranks.stop()
