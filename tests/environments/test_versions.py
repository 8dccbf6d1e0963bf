"""What is asked of pip, and that what was not tested does not pass."""

from __future__ import annotations

import re

from tests.environments import versions
from tests.environments.fresh import NotInstalled


def test_the_oldest_is_the_declared_bound_and_the_newest_is_pips_to_choose():
    bound = versions.declared()
    assert re.fullmatch(r"\d+\.\d+", bound)
    assert versions.requirement("oldest") == f"torch=={bound}.0"
    assert versions.requirement("newest") == f"torch>={bound}"
    assert versions.requirement("2.9.1") == "torch==2.9.1"


def test_what_cannot_be_installed_is_said_and_does_not_pass(monkeypatch):
    class Offline:
        def __init__(self, folder):
            self.folder = folder

        def install(self, *requirements):
            raise NotInstalled(f"no matching distribution for {requirements}")

    monkeypatch.setattr(versions, "Environment", Offline)
    found = versions.tested_against("oldest")
    assert found.startswith("NOT TESTED, torch==")
    assert "no matching distribution" in found


def test_every_verdict_is_printed_at_the_end(capsys):
    verdicts = versions.main(["oldest", "newest"], {"oldest": "broken", "newest": None}.get)
    assert any(verdicts.values())
    assert capsys.readouterr().out.split() == ["oldest:", "broken", "newest:", "passed"]
