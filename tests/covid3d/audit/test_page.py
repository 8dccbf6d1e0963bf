"""The page: one sentence first, every scan, nothing from outside, and any name."""

import numpy as np
import pytest

from examples.covid3d.audit.page import Surroundings, build_page
from examples.covid3d.audit.slices import draw
from examples.covid3d.audit.verdict import Verdict
from tests.covid3d.audit.assessments import assessment
from tests.covid3d.audit.pages import Page

HOSTILE = ["a$x_$b", "<b>bold</b>", "=1+1", '"><script>alert(1)</script>', "a&b", "名前"]


def verdict(names, doubtful=1):
    judged = [
        assessment(name, 0.1 + i / 100, "shifted" if i < doubtful else "none")
        for i, name in enumerate(names)
    ]
    trusted = [assessment(f"good{i}", 0.9) for i in range(2)]
    return Verdict(judged, trusted, ["It found 9 of 10 planted faults."])


def page(names, pictured=(), doubtful=1, **around):
    mask = np.zeros((6, 6, 3), bool)
    mask[2:4, 2:4] = True
    drawn = {name: draw(name, mask.astype(np.float32), mask, ~mask, (1, 1, 1)) for name in pictured}
    surroundings = Surroundings(**{"data": "set", "drawn": False} | around)
    return Page(build_page(verdict(names, doubtful), drawn, dict(drawn), surroundings))


@pytest.mark.parametrize(
    ("count", "doubtful", "said"),
    [
        (3, 0, "None of 3 masks is doubtful."),
        (3, 1, "1 of 3 masks is doubtful; look at it first."),
        (3, 2, "2 of 3 masks are doubtful; look at these first."),
        (1, 0, "The one mask is not doubtful."),
        (1, 1, "The one mask is doubtful; look at it."),
    ],
)
def test_the_verdict_is_one_sentence(count, doubtful, said):
    assert verdict([str(i) for i in range(count)], doubtful).sentence() == said


def test_the_first_screen_says_verdict_trusted_and_belief():
    text = page(["a", "b"], ["a"]).text
    first = text[: text.index("Every scan")]
    assert "1 of 2 masks is doubtful" in first
    assert "2 trusted scans: good0, good1" in first
    assert "9 of 10 planted faults" in first


def test_every_scan_is_there_and_pictures_have_words_and_sizes():
    shown = page([f"case{i}" for i in range(30)], ["case0", "case1"])
    assert sum("data-name" in line for line in shown.all("li")) == 32
    pictures = shown.all("img")
    assert len(pictures) == 4
    assert all(img["alt"] and img["width"] and img["height"] for img in pictures)


def test_nothing_comes_from_outside():
    shown = page(["a"], ["a"])
    for _, attributes in shown.tags:
        for key in ("src", "href"):
            assert (attributes.get(key) or "#").startswith(("data:image/jpeg", "#"))
    assert "http" not in shown.text
    assert not shown.all("link")


def test_links_of_the_first_screen_lead_to_their_scans():
    shown = page(["a", "b"], ["a"])
    (link,) = shown.all("a")
    assert link["href"][1:] in [line.get("id") for line in shown.all("li")]


def test_hostile_names_are_text_and_nothing_else():
    shown = page(HOSTILE, HOSTILE[:3], data="<i>", rejected=[("<u>", "<s>")], facts={"<em>": "<q>"})
    assert len(shown.all("script")) == 1
    assert not {"u", "s", "em", "q"} & {tag for tag, _ in shown.tags}
    for name in HOSTILE:
        assert name in shown.text
    assert "<i>" in shown.text


def test_trusted_scans_that_chance_drew_are_said_to_be_unchecked():
    assert "nobody has vouched" in page(["a"], drawn=True).text
    assert "nobody has vouched" not in page(["a"], drawn=False).text


def test_what_was_left_out_is_listed():
    text = page(["a"], rejected=[("bad.nii.gz", "no such file")], without_mask=3).text
    assert "3 scans have no mask" in text
    assert "bad.nii.gz" in text
    assert "Left out" not in page(["a"]).text


def test_a_page_of_thousands_stays_small():
    html = build_page(
        verdict([f"case{i}" for i in range(5000)]), {}, {}, Surroundings("set", False)
    )
    assert len(html) < 3e6
