"""Every script of the gallery, at a small size: its table says what its docstring says of it."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import numpy as np
import pytest

from examples._data import photographs
from tests.compatibility.frameworks import need

pytest.importorskip("matplotlib", reason="matplotlib is in requirements/benchmarks.txt")
Image = pytest.importorskip("PIL.Image", reason="pillow is in requirements/benchmarks.txt")

ROOT = Path(__file__).parent.parent.parent
SCRIPTS = sorted(p for p in (ROOT / "examples").glob("*.py") if not p.name.startswith("_"))
NEEDS = {
    "lightning_module": "lightning",
    "lora_tokens": "peft",
    "noisy_masks": "monai",
    "tabular": "sklearn",
    "text_classification": "transformers",
}


@pytest.fixture
def run(tmp_path, capsys):
    """Run a script's ``main``; return what it returns, and what it prints."""

    def of(name: str, picture: bool = False, **settings):
        if name in NEEDS:
            need(NEEDS[name])
        if "folder" not in settings and picture:
            settings["folder"] = str(tmp_path)
        found = importlib.import_module(f"examples.{name}").main(**settings)
        if picture:
            written = (tmp_path / f"{name}.png").read_bytes()
            assert written.startswith(b"\x89PNG")
            assert 2_000 < len(written) < 120_000
        return found, capsys.readouterr().out

    return of


def numbers(printed: str, row: str) -> list[float]:
    """Return the numbers of the row of a table that begins so."""
    (line,) = [line for line in printed.splitlines() if line.startswith(row)]
    return [float(word.strip("%;,")) for word in line[len(row) :].split() if word[0].isdigit()]


def test_quickstart_shows_a_corner_mended_that_controls_leave_wrong(run):
    found, printed = run("quickstart", picture=True, count=600, epochs=20)
    assert found["MendedLabels"] > max(v for k, v in found.items() if k != "MendedLabels") + 0.05
    accuracy, flagged, wrong = numbers(printed, "MendedLabels")
    assert accuracy == pytest.approx(100 * found["MendedLabels"], abs=0.06)
    assert 0.8 * flagged < wrong <= flagged
    assert wrong > numbers(printed, "plain + trusted loss")[2]


def test_mistaken_shapes_are_listed(run, tmp_path):
    found, printed = run("human_labels", picture=True, count=1600, epochs=12)
    listed, wrong = found["MendedLabels"]
    assert numbers(printed, "MendedLabels") == [listed, wrong]
    assert wrong > 0.8 * listed
    assert wrong > found["plain"][1]
    assert "labels look wrong" in (tmp_path / "issues.html").read_text(encoding="utf-8")


def test_photographs_in_the_layout_of_cifar10n_are_read(tmp_path):
    colours = np.arange(5) * 50
    for number, colour in enumerate(colours):
        Image.new("RGB", (32, 32), (int(colour), 0, 0)).save(tmp_path / f"{number}.jpg")
    files = [(tmp_path / f"{number}.jpg").read_bytes() for number in range(5)]
    np.savez(
        tmp_path / "train.npz",
        jpeg=np.frombuffer(b"".join(files), np.uint8),
        offsets=np.cumsum([0, *map(len, files)]),
        random_label1=np.array([1, 2, 3, 4, 5]),
        clean_label=np.array([1, 2, 0, 4, 5]),
    )
    images, given, truth = photographs(tmp_path, 4)
    assert images.shape == (4, 3, 32, 32)
    assert images[:, 0].mean((1, 2)).numpy() == pytest.approx(colours[:4] / 255, abs=0.02)
    assert (given.tolist(), truth.tolist()) == ([1, 2, 3, 4], [1, 2, 0, 4])


def test_bad_rules_weigh_less_than_every_good_one(run):
    weights, printed = run("rules", picture=True, count=300, epochs=5)
    good, bad = ("keyword", "link", "length", "sender"), ("emoji", "hour")
    assert min(weights[rule] for rule in good) > 0.5 > max(weights[rule] for rule in bad)
    (learnt,) = numbers(printed, "every rule's, GroupWeights")
    for other in (
        "the majority's label, plain",
        "every rule's label, plain",
        "every rule's, random",
    ):
        assert learnt > numbers(printed, other)[0]


def test_texts_that_a_rule_mislabels_weigh_less(run, tmp_path):
    found, printed = run("text_classification", folder=str(tmp_path), count=400, epochs=10)
    assert found["wrong"] < 0.7 * found["right"]
    assert found["MendedLabels"] > found["plain + trusted loss"] + 0.05
    assert "mean weight of wrong labels" in printed


def test_wrong_tokens_weigh_less(run):
    found, printed = run("lora_tokens", picture=True, count=400, epochs=12)
    assert found["wrong"] < 0.6 * found["right"]
    assert found["weighted"] < found["plain"]
    assert "mean weight of right tokens" in printed


def test_pixels_left_out_of_a_mask_weigh_less(run):
    found, printed = run("noisy_masks", picture=True, count=200, epochs=10)
    assert found["wrong"] < 0.6 < 0.9 < found["right"]
    assert found["cross-entropy, a weight a pixel"] > found["cross-entropy, plain"]
    assert found["DiceCE, a weight a mask"] > 0.8  # what it gains is too little to test
    assert "weight of right pixels" in printed


def test_flipped_rows_of_a_table_are_listed(run):
    found, printed = run("tabular", cuts=1)
    assert found["right"] > 0.9
    assert found["found"] > 0.6
    assert found["ReweightedClassifier"] > found["plain network"]
    assert found["ReweightedClassifier"] > found["gradient boosting"]
    assert "labels look wrong" in printed


def test_weights_by_class_lift_rare_ones_and_frequencies_more(run):
    found, printed = run("class_imbalance", picture=True, count=800, epochs=10, seeds=1)
    means = {name: float(recall.mean()) for name, recall in found.items()}
    assert means["plain"] < means["GroupWeights"]
    assert numbers(printed, "how many")[0] > 10 * numbers(printed, "how many")[-1]
    assert means["1 / frequency"] > means["plain"]


def test_a_lightning_fit_that_is_resumed_has_seen_every_epoch(run, tmp_path):
    (plain, mended), printed = run("lightning_module", folder=str(tmp_path), count=500, epochs=20)
    assert mended > plain + 0.05
    assert printed.count("each seen 20 times") == 2


def test_two_ranks_resume_bit_for_bit(run):
    rows, printed = run("amp_ddp", count=600, epochs=8)
    assert [apart for _, apart in rows] == [0.0, 0.0]
    assert rows[0] == rows[1]
    assert rows[0][0] > 0.85  # plain training: 0.8
    assert printed.count("resumed, apart by 0.0") == 2


def test_parts_of_ones_own_tell_right_from_wrong_labels(run):
    found, printed = run("your_own")
    assert found["wrong"] < 0.5 * found["right"]
    assert f"{found['wrong']:.2f}" in printed


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_is_short_and_says_what_one_sees(script):
    text = script.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 80
    first, blank, *rest = (ast.get_docstring(ast.parse(text)) or "").splitlines()
    assert first.endswith(".")
    assert blank == ""
    assert rest
    assert f"`{script.name}`" in (ROOT / "examples/README.md").read_text(encoding="utf-8")
