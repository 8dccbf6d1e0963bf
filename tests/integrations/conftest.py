from __future__ import annotations

from tests.distributed.conftest import two_ranks  # noqa: F401
