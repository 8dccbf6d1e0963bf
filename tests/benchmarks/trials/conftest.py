from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def threads(one_thread_here):
    """One, as in the processes that train."""
