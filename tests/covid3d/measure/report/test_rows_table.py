"""The table of the rows, and what is said of the pseudo-labels."""

import dataclasses
import re
from types import SimpleNamespace

import pytest

from examples.covid3d.measure.report import build
from examples.covid3d.measure.report.results import LABELS


def results(tiny, **steps):
    lines = [
        {"method": method, "steps": str(count)}
        for method, counts in steps.items()
        for count in counts
    ]
    return SimpleNamespace(context=SimpleNamespace(config=tiny), training=lines)


@pytest.mark.parametrize(
    ("method", "start", "expected"),
    [
        ("rgs", "teacher", ("teacher", "4, after the teacher's", "0.001, poly")),
        ("rgs", "scratch", ("scratch", "4", "0.001, poly")),
        ("best", "teacher", ("scratch", "4", "0.0003, constant")),
        ("semi-supervised", "scratch", ("teacher", "4, after the teacher's", "0.001, poly")),
        ("supervised", "teacher", ("scratch", "4", "0.001, poly")),
        ("nnunet", "teacher", ("elsewhere", "4", "–")),
    ],
)
def test_where_it_starts_its_steps_and_its_rate(tiny, method, start, expected):
    config = dataclasses.replace(tiny, student_start=start)
    found = results(config, **{method: [4]}, other=[9])
    assert build._how(method, found)[1:] == expected


def test_steps_are_a_range_over_folds_and_unknown_without_a_training(tiny):
    config = dataclasses.replace(tiny, student_start="scratch")
    assert build._how("rgs", results(config, rgs=[90, 100, 1200]))[2] == "90 to 1200"
    assert build._how("nnunet", results(config))[2] == "–"


def test_the_table_is_in_the_page(finished):
    page = (finished[0] / "report" / "report.html").read_text(encoding="utf-8")
    table = next(t for t in page.split("<table") if ">Starts from<" in t)
    cells = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in table.split("<tr")]
    rows = {row[0]: row for row in cells if row}
    assert list(rows) == ["Row", *(LABELS[m].replace("&", "&amp;") for m in finished[1].methods)]
    assert rows["Row"][3:] == ["Starts from", "Steps", "Rate"]
    assert rows["RGS&amp;M+AL"][3:] == ["teacher", "4, after the teacher&#x27;s", "0.001, poly"]
    assert rows["Fully supervised (teacher)"][3:] == ["scratch", "4", "0.001, poly"]


@pytest.mark.parametrize(
    ("dices", "median"), [([0.1, 0.9, 0.2, 0.4], "0.300"), ([0.9, 0.1, 0.2], "0.200")]
)
def test_the_median_of_an_even_number_is_between_the_middle_two(dices, median):
    rows = [{"dice": str(dice)} for dice in dices] + [{"dice": ""}]
    text = " ".join(build._pseudo_labels(rows))
    assert f"of {len(dices)} pseudo-labels" in text
    assert f"median {median}" in text
