"""Assessments in portions, each kept once; trusted scans judged by each other."""

import numpy as np
import pytest

from examples.covid3d.audit import judging
from examples.covid3d.audit.drawing import Drawing
from examples.covid3d.audit.judging import assessments_of, judge, judge_trusted
from examples.covid3d.audit.quality import assess
from examples.covid3d.common.errors import UserError
from examples.covid3d.common.files import write_json
from tests.covid3d.running import Killed


class Listed(list):
    """Drawings in memory."""

    def some(self, indices):
        return Listed(self[i] for i in indices)


def drawings(prefix, count, wrong=(), seed=0):
    """Balls whose given masks are expected but for some voxels, and those that are moved."""
    rng = np.random.default_rng(seed)
    place = np.indices((24, 24, 24)) - 11.5
    made = Listed()
    for number in range(count):
        noisy = np.sqrt((place**2).sum(0)) + rng.normal(0, 0.5, place.shape[1:])
        given = (noisy < 7).astype(np.uint8)
        if number in wrong:
            given = np.roll(given, 4, axis=0)
        smooth = np.sqrt((place**2).sum(0)) < 7
        name = f"{prefix}{number}"
        made.append(Drawing(name, given, smooth.astype(np.float32), (1.0, 1.0, 1.0)))
    return made


def names_of(made):
    return [one.name for one in made]


def rows(assessments):
    """As text, for NaN is not NaN."""
    return [{key: str(value) for key, value in one.to_row().items()} for one in assessments]


def test_in_portions_scans_are_judged_as_they_are_all_at_once(tmp_path):
    audited, trusted = drawings("a", 11, wrong=(3,)), drawings("t", 2, seed=1)
    judge(names_of(audited), audited, trusted, tmp_path)
    kept = assessments_of(tmp_path, names_of(audited))
    assert rows(kept) == rows(assess(audited, trusted))
    assert [one.scan for one in kept if one.doubt == "shifted"] == ["a3"]


def test_what_was_judged_is_not_judged_again(tmp_path, monkeypatch):
    audited, trusted = drawings("a", 11), drawings("t", 2, seed=1)
    real, seen = judging.assess, []

    def killed_in_the_second_portion(part, by):
        seen.append(names_of(part))
        if len(seen) == 2:
            raise Killed
        return real(part, by)

    monkeypatch.setattr(judging, "assess", killed_in_the_second_portion)
    with pytest.raises(Killed):
        judge(names_of(audited), audited, trusted, tmp_path)
    judge(names_of(audited), audited, trusted, tmp_path)
    assert seen == [names_of(audited[:8]), names_of(audited[8:]), names_of(audited[8:])]


def test_what_another_version_said_is_refused(tmp_path):
    write_json(tmp_path / "scans" / "a" / "judged.json", {"scan": "a", "parts": {"dice": 0.5}})
    with pytest.raises(UserError, match="delete the folder"):
        assessments_of(tmp_path, ["a"])


@pytest.mark.parametrize("count", [2, 3, 4, 9])
def test_every_trusted_scan_is_judged(tmp_path, count):
    trusted = drawings("t", count)
    judge_trusted(names_of(trusted), trusted, tmp_path)
    assert len(assessments_of(tmp_path, names_of(trusted))) == count


def test_a_trusted_mask_that_is_wrong_is_found_by_the_others(tmp_path):
    trusted = drawings("t", 8, wrong=(5,))
    judge_trusted(names_of(trusted), trusted, tmp_path)
    kept = assessments_of(tmp_path, names_of(trusted))
    assert [one.scan for one in kept if one.doubt != "none"] == ["t5"]
