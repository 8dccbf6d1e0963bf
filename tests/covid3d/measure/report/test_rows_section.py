"""The table of the rows: where each starts, its steps, rate and time."""

import dataclasses
import re
from types import SimpleNamespace

import pytest

from examples.covid3d.measure.report.results import LABELS
from examples.covid3d.measure.report.rows_section import how


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
    assert how(method, found)[:3] == expected


def test_steps_are_a_range_over_folds_and_unknown_without_a_training(tiny):
    config = dataclasses.replace(tiny, student_start="scratch")
    assert how("rgs", results(config, rgs=[90, 100, 1200]))[1] == "90 to 1200"
    assert how("nnunet", results(config))[1] == "–"


def test_the_table_is_in_the_page(finished):
    page = (finished[0] / "report" / "report.html").read_text(encoding="utf-8")
    table = next(t for t in page.split("<table") if ">Starts from<" in t)
    cells = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in table.split("<tr")]
    rows = {row[0]: row for row in cells if row}
    assert list(rows) == ["Row", *(LABELS[m].replace("&", "&amp;") for m in finished[1].methods)]
    assert rows["Row"][3:] == ["Starts from", "Steps", "Rate", "Training"]
    assert rows["RGS&amp;M+AL"][3:6] == ["teacher", "4, after the teacher&#x27;s", "0.001, poly"]
    assert rows["Fully supervised (teacher)"][3:6] == ["scratch", "4", "0.001, poly"]


def test_the_time_is_the_mean_of_the_trainings_that_were_timed(tiny):
    found = results(tiny, rgs=[4, 4])
    for line, seconds in zip(found.training, ("10.0", "20.4"), strict=True):
        line["seconds"] = seconds
    assert how("rgs", found)[3] == "15 s"
    assert how("rgs", results(tiny, rgs=[4]))[3] == "–"
