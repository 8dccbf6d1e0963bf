import dataclasses

import pytest
import torch

from examples.covid3d import stages
from examples.covid3d.config import PRESETS
from examples.covid3d.network import initial_network
from examples.covid3d.pipeline import run_stages
from examples.covid3d.report.provenance import comparison


@pytest.fixture(scope="module")
def labelled(tmp_path_factory, tiny_config):
    """A tiny run whose scans have their pseudo-labels."""
    out = tmp_path_factory.mktemp("run")
    run_stages(out, tiny_config, ["prepare", "teacher", "pseudo-label"])
    return out


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("start", ["teacher", "scratch"])
def test_all_students_start_where_told(labelled, tiny, monkeypatch, start):
    expected = {
        "teacher": torch.load(labelled / "teacher" / "weights.pt", weights_only=True),
        "scratch": initial_network(tiny.seed, torch.device("cpu")).state_dict(),
    }
    assert not same(expected["teacher"], expected["scratch"])
    starts = []

    def note(model, *_, **__):
        starts.append({key: value.clone() for key, value in model.state_dict().items()})

    monkeypatch.setattr(stages, "train", note)
    config = dataclasses.replace(tiny, student_start=start, methods=("equal", "random", "rgsm_al"))
    run_stages(labelled, config, ["student"])
    assert len(starts) == len(config.methods)
    assert all(same(state, expected[start]) for state in starts)


@pytest.mark.parametrize(
    ("start", "said"),
    [("teacher", "starts from the teacher's weights"), ("scratch", "random initial state")],
)
def test_the_report_says_where_students_start(tiny, start, said):
    text = comparison(dataclasses.replace(tiny, student_start=start))
    assert said in text
    assert "chosen" not in text


def test_the_report_says_how_the_settings_of_the_demo_were_chosen():
    demo = PRESETS["demo"]
    for methods in (demo.methods, ("equal",)):
        assert "chosen with this seed" in comparison(dataclasses.replace(demo, methods=methods))
    assert "chosen" not in comparison(dataclasses.replace(demo, seed=1))
