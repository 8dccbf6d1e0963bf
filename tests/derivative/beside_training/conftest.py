from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def nothing_compiled():
    """What an earlier test has compiled would keep passes from being observed."""
    if "torch._dynamo" in sys.modules:
        sys.modules["torch._dynamo"].reset()
