"""``python -m benchmarks.modes``."""

from __future__ import annotations

import json

import pytest

from benchmarks.modes.__main__ import main, table
from benchmarks.modes.measure import ModeRow


@pytest.mark.parametrize(("model", "size"), [("mlp", 16), ("llama-tiny", 6)])
def test_it_prints_agreement_and_writes_what_it_measured(tmp_path, capsys, model, size):
    words = ["--models", model, "--size", str(size), "--batch", "12", "--rounds", "1"]
    assert main([*words, "--output", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    rows = json.loads((tmp_path / "modes.json").read_text())["rows"][model]
    found = {row["mode"]: row for row in rows}
    assert found["full precision"]["error"] < 1e-5
    assert found["full precision beside bfloat16"]["error"] < 1e-5
    for half in ("bfloat16", "float16"):
        row = found[f"training precision, {half}"]
        assert 1e-6 < row["error"] < 0.2
        assert row["correlation"] > 0.9
        assert f"| training precision, {half} |" in text
    assert (tmp_path / "modes.md").read_text().startswith("`python -m benchmarks.modes --models")


def test_what_is_refused_says_why():
    assert "refused: hooks" in table(
        [ModeRow("plain step", 1.0, 1.0), ModeRow("x", refused="hooks")]
    )


def test_a_device_that_is_none_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["--models", "mlp", "--device", "abacus"])
    assert "--device must be cpu, cuda or cuda:N" in capsys.readouterr().err
