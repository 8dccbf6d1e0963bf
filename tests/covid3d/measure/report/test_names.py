"""Names of scans: any that a file can have, or none of the data's."""

import dataclasses
import re

import pytest
import torch

from examples.covid3d.measure.report import naming, results
from examples.covid3d.measure.report.build import build_report
from examples.covid3d.run.context import Context
from examples.covid3d.run.run_folder import RunFolder
from examples.covid3d.scans.manifest import read_manifest
from tests.covid3d.measure.report.test_report import Balance

HOSTILE = [
    r"$\frac{", "</script><script>alert(1)</script>", "\"'><img src=x onerror=y>",
    "{name}%s", "=1+1", "naïve_Ω_肺", "two\nlines", "&lt;", "x" * 200, "]]>", "$$", "#", "^_^",
]  # fmt: skip


def written(finished, folder):
    out, config = finished
    build_report(Context(RunFolder(out, config), torch.device("cpu")), folder)
    return (folder / "report.html").read_text(encoding="utf-8")


def test_no_name_of_a_scan_ends_the_report_or_becomes_markup(finished, tmp_path, monkeypatch):
    def hostile(_word, names, _hidden):
        assert len(names) <= len(HOSTILE)
        # matplotlib would take what is between two dollars for a formula.
        return dict(zip(sorted(names), (f"a$x_$b {name}" for name in HOSTILE), strict=False))

    monkeypatch.setattr(naming, "_numbered", hostile)
    page = written(finished, tmp_path)
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    assert page.count("<script>") == page.count("</script>") == 1
    assert "<img src=x" not in page
    assert "a$x_$b" in page


def test_pseudonyms_stand_in_for_names_and_paths_in_all_that_is_written(
    finished, tmp_path, monkeypatch
):
    monkeypatch.setattr(results, "names_are_hidden", lambda _: True)
    page = written(finished, tmp_path)
    entries = read_manifest(finished[0] / "prepare")
    secret = {name for e in entries for name in (e.name, e.patient, e.source)}
    texts = {
        path.name: path.read_text(encoding="utf-8")
        for path in tmp_path.iterdir()
        if path.suffix in (".html", ".csv", ".md", ".txt")
    }
    assert len(texts) > 6
    for where, text in texts.items():
        assert not [name for name in secret if name in text or name in where], where
        assert str(finished[0]) not in text
    assert re.search(r"scan \d", page)


def test_places_are_withheld_where_names_are():
    hidden, shown = (naming.Naming([], hidden=hide) for hide in (True, False))
    assert (hidden.place("/data/Smith"), shown.place("/data/Smith")) == ("withheld", "/data/Smith")
    assert hidden.place("") == ""


def test_the_setting_is_read_where_there_is_one(tiny):
    assert not naming.names_are_hidden(tiny)
    if "pseudonyms" in {field.name for field in dataclasses.fields(tiny)}:
        assert naming.names_are_hidden(dataclasses.replace(tiny, pseudonyms=True))


@pytest.mark.parametrize("names", [3, 12])
def test_numbers_are_as_long_as_they_must_be(names):
    found = naming._numbered("scan", {f"n{i:02}" for i in range(names)}, True)
    assert found["n01"] == ("scan 2" if names < 10 else "scan 02")
    assert len(set(found.values())) == names
