"""A whole audit of tiny volumes: what it leaves, and that it can be killed at any moment."""

import dataclasses
import shutil

import pytest
import torch

from examples.covid3d.audit import judging, observing, pipeline
from examples.covid3d.audit.inputs import HALVES
from examples.covid3d.audit.pipeline import PAGE, TABLE, audit
from examples.covid3d.audit.settings import DEFAULTS, kept
from examples.covid3d.common.errors import UserError
from examples.covid3d.common.files import read_csv
from examples.covid3d.train import training
from tests.covid3d.audit.pages import Page
from tests.covid3d.running import Killed, files_of, hide_masks, nnunet

CPU = torch.device("cpu")


def settings(data, **changes):
    tiny = {
        "data": str(data),
        "spacing": (2.0, 2.0, 3.0),
        "channels": (4, 8),
        "patch": (16, 16, 16),
        "batch_size": 2,
        "student_steps": 3,
        "checkpoint_every": 1,
        "trusted": 2,
    }
    return dataclasses.replace(DEFAULTS, **tiny | changes)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return nnunet(tmp_path_factory.mktemp("data") / "set", 7)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """An audit that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole")
    return out, audit(out, settings(data), CPU, 2)


def test_every_scan_is_judged_and_pictured_as_far_as_asked(whole):
    out, verdict = whole
    rows = read_csv(out / TABLE)
    assert sorted(row["scan"] for row in rows) == [f"case{i:02d}" for i in range(7)]
    assert sum(row["trusted"] == "1" for row in rows) == len(verdict.trusted) == 2
    qualities = [float(row["quality"]) for row in rows]
    assert qualities == sorted(qualities)
    assert all(0 <= quality <= 1 for quality in qualities)
    page = Page((out / PAGE).read_text(encoding="utf-8"))
    assert len({img["alt"] for img in page.all("img")} - {None}) >= 4
    assert verdict.sentence() in page.text


def test_a_finished_audit_trains_and_draws_nothing_again(whole, data, monkeypatch):
    out, before = whole

    def never(*_, **__):
        raise AssertionError

    monkeypatch.setattr(pipeline, "learn", never)
    monkeypatch.setattr(pipeline, "observe", never)
    monkeypatch.setattr(judging, "assess", never)
    kept = {k: v for k, v in files_of(out).items() if "/" in k}
    assert audit(out, settings(data), CPU, 2) == before
    assert {k: v for k, v in files_of(out).items() if "/" in k} == kept


def at_call(module, name, number):
    """Kills at the so manieth call of a function."""

    def patch(patched):
        real, calls = getattr(module, name), []

        def stop(*arguments, **options):
            calls.append(None)
            if len(calls) == number:
                raise Killed
            return real(*arguments, **options)

        patched.setattr(module, name, stop)

    return patch


def test_killed_again_and_again_it_ends_alike(whole, data, tmp_path, monkeypatch):
    for patch in (
        at_call(training._Run, "take", 2),
        at_call(training._Run, "take", 4),
        at_call(observing, "write_arrays", 3),
        at_call(judging, "write_json", 3),
        at_call(pipeline, "write_text", 1),
    ):
        with monkeypatch.context() as patched:
            patch(patched)
            with pytest.raises(Killed):
                audit(tmp_path, settings(data), CPU, 2)
        assert not (tmp_path / PAGE).exists()
    again = audit(tmp_path, settings(data), CPU, 2)
    out, uninterrupted = whole
    assert again.sentence() == uninterrupted.sentence()
    assert (tmp_path / TABLE).read_bytes() == (out / TABLE).read_bytes()


def test_who_is_trusted_decides_what_is_trained(whole, data, tmp_path):
    named = settings(data, trusted=0, trusted_scans=("case01", "case05"))
    verdict = audit(tmp_path, named, CPU, 0)
    assert sorted(one.scan for one in verdict.trusted) == ["case01", "case05"]
    assert "vouched" not in (tmp_path / PAGE).read_text(encoding="utf-8")
    assert "vouched" in (whole[0] / PAGE).read_text(encoding="utf-8")


def test_a_csv_with_roles_hostile_names_and_scans_without_masks(tmp_path):
    hide_masks(nnunet(tmp_path / "set", 7), "case06")
    names = ["a$x_$b", "=1+1", "-2", "<b>", "a&b", "'", "bare"]
    lines = ["image,label,patient,source,name,role"]
    for case, name in enumerate(names):
        image, label = (f"set/{kind}/case{case:02d}.nii.gz" for kind in ("imagesTr", "labelsTr"))
        safe = name.replace("<b>", "b")
        lines.append(f"{image},{label if case < 6 else ''},p{case},x,{safe},test")
    table = tmp_path / "scans.csv"
    table.write_text("\n".join(lines))
    verdict = audit(tmp_path / "out", settings(table), CPU, 9)
    assert len(verdict.judged) == 4
    written = {row["scan"] for row in read_csv(tmp_path / "out" / TABLE)}
    assert written == {"a$x_$b", "=1+1", "-2", "b", "a&b", "'"}
    assert "'=1+1," in (tmp_path / "out" / TABLE).read_text(encoding="utf-8")
    page = Page((tmp_path / "out" / PAGE).read_text(encoding="utf-8"))
    assert "1 scan has no mask" in page.text
    assert "=1+1" in page.text


def test_a_trusted_scan_that_is_rejected_stops_before_training(tmp_path, monkeypatch):
    folder = nnunet(tmp_path / "set", 5)
    (folder / "labelsTr" / "case01.nii.gz").write_bytes(b"broken")
    monkeypatch.setattr(pipeline, "learn", lambda *_: 1 / 0)
    before = settings(folder, trusted=0, trusted_scans=("case03", "case02"), max_rejected=1)
    with pytest.raises(ZeroDivisionError):
        audit(tmp_path / "out", before, CPU, 0)
    named = dataclasses.replace(before, trusted_scans=("case01", "case02"))
    with pytest.raises(UserError, match="case01 could not be used"):
        audit(tmp_path / "out", named, CPU, 0)
    assert kept(tmp_path / "out") == before


def weights_of(out):
    return [(out / "student" / half / "weights.pt").read_bytes() for half in HALVES]


def test_another_mask_is_noticed_and_finished_trainings_are_kept_unless_asked(tmp_path):
    out, folder = tmp_path / "out", nnunet(tmp_path / "set", 7)
    first = audit(out, settings(folder), CPU, 0)
    before = weights_of(out)
    other = folder / "labelsTr" / f"{first.judged[0].scan}.nii.gz"
    other.write_bytes((folder / "labelsTr" / f"{first.judged[1].scan}.nii.gz").read_bytes())
    with pytest.raises(UserError, match=rf"another mask: {first.judged[0].scan}(.|\n)*--redo"):
        audit(out, settings(folder), CPU, 0)
    assert weights_of(out) == before
    again = audit(out, settings(folder), CPU, 0, redo=True)
    # One of the two never saw that mask.
    assert sum(a != b for a, b in zip(weights_of(out), before, strict=True)) == 1
    assert [one.scan for one in again.trusted] == [one.scan for one in first.trusted]


def test_the_same_scans_trusted_by_name_need_no_other_training(whole, data, monkeypatch):
    out, verdict = whole
    monkeypatch.setattr(pipeline, "learn", lambda *_: 1 / 0)
    names = tuple(one.scan for one in verdict.trusted)
    named = settings(data, trusted=0, trusted_scans=names)
    assert audit(out, named, CPU, 0).sentence() == verdict.sentence()
    audit(out, settings(data), CPU, 2)


def test_a_copy_of_the_data_elsewhere_trains_nothing_again(whole, data, tmp_path, monkeypatch):
    out, verdict = whole
    monkeypatch.setattr(pipeline, "learn", lambda *_: 1 / 0)
    shutil.copytree(data, tmp_path / "set")
    shutil.copytree(out, tmp_path / "out")
    copy = audit(tmp_path / "out", settings(tmp_path / "set"), CPU, 0)
    assert copy.sentence() == verdict.sentence()
