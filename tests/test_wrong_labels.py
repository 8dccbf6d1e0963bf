"""The gallery's script that finds wrong labels, at a small size."""

from __future__ import annotations

import pytest

from examples import wrong_labels


@pytest.mark.usefixtures("on_the_cpu")  # the script draws with a generator of the CPU
def test_labels_are_mended_and_shown(tmp_path, capsys):
    assert wrong_labels.main(str(tmp_path), count=1200, epochs=12) > 0.74  # 0.7 were right
    page = (tmp_path / "issues.html").read_text(encoding="utf-8")
    assert "labels look wrong" in page
    assert "data:image/png;base64," in page
    assert "with those suggested" in capsys.readouterr().out
