"""What type checkers say of a user's script, and the script itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import typed_script, verify_types

ROOT = Path(__file__).parent.parent

WRONG = """
from torch import Tensor, nn
from reweight import MetaReweighter, TopK

def loss(output: Tensor) -> Tensor:
    return output

MetaReweighter(nn.Linear(2, 2), loss)
MetaReweighter(nn.Linear(2, 2), nn.MSELoss(), on_empty="stop")
MetaReweighter(nn.Linear(2, 2), nn.MSELoss(), selector=TopK)
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> list[str]:
    """What mypy, by the project's own settings, finds in the script and in one with mistakes."""
    pytest.importorskip("mypy", reason="mypy is in requirements/development.txt")
    wrong = tmp_path_factory.mktemp("typed") / "wrong_script.py"
    wrong.write_text(WRONG, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", "tests/typed_script.py", str(wrong)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr
    return [line for line in done.stdout.splitlines() if "error:" in line]


def test_a_typed_script_runs_without_a_warning():
    typed_script.main()


def test_mypy_finds_nothing_in_a_typed_script(found):
    assert [line for line in found if "typed_script.py" in line] == []


def test_mypy_finds_what_is_wrong_in_a_script(found):
    lines = [line for line in found if "wrong_script.py" in line]
    assert [int(line.split("wrong_script.py:")[1].split(":")[0]) for line in lines] == [8, 9, 10]


@pytest.mark.parametrize(("score", "status"), [(1.0, 0), (0.951, 0), (0.949, 1)])
def test_too_few_known_types_are_an_error_that_names_them(score, status, capsys):
    symbols = [
        {"name": "reweight.known", "diagnostics": []},
        {"name": "reweight.guess", "diagnostics": [{"message": "Type is missing"}]},
        {"name": "reweight.other", "diagnostics": [{"message": "Type is partially unknown"}]},
    ]
    report = {"typeCompleteness": {"completenessScore": score, "symbols": symbols}}
    assert verify_types.verdict(report, least=0.95) == status
    said = capsys.readouterr().out
    assert f"{score:.1%}" in said
    assert ("reweight.guess" in said) == bool(status)
    assert "reweight.known" not in said
    assert "reweight.other" not in said
