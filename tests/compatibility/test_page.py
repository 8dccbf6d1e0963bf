"""The committed page is the one that the tests stand for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.compatibility.page import CompatibilityPage, Row, listed, render

PAGE = Path(__file__).parent.parent.parent / "docs" / "compatibility.md"


def key(row: Row) -> tuple[str, str, str]:
    return row.area, row.what, row.result


def test_the_page_lists_the_rows_that_the_tests_mark(request):
    plugin = request.config.pluginmanager.get_plugin("compatibility-page")
    page = listed(PAGE.read_text(encoding="utf-8"))
    marked = {key(row) for row in plugin.marked - plugin.expected_to_fail}
    assert marked <= page, "make compatibility"
    if request.config.args_source is pytest.Config.ArgsSource.TESTPATHS:  # all were collected
        assert page <= {key(row) for row in plugin.marked}, "make compatibility"


def test_what_is_written_is_read_back():
    rows = {
        Row("wrapper", "DataParallel | replicas", "refused"): "wrap it\nlater",
        Row("architecture", "MLP", "exact"): "",
    }
    page = render(rows, ["torch 2.13"])
    assert listed(page) == {
        ("wrapper", "DataParallel \\| replicas", "refused"),
        ("architecture", "MLP", "exact"),
    }
    assert page.index("MLP") < page.index("DataParallel")


def test_what_is_refused_comes_last_and_a_long_reason_stands_once():
    why = "it cannot be, " * 10
    rows = {
        Row("wrapper", "A", "refused"): why,
        Row("wrapper", "b", "exact"): "as ever",
        Row("wrapper", "C", "exact"): "",
        Row("wrapper", "D", "refused"): why,
        Row("hook", "E", "warned of"): "another " * 20,
    }
    page = render(rows, [])
    assert len(listed(page)) == 5
    assert [
        line[2] for line in page.splitlines() if line[:4] in ("| A ", "| b ", "| C ", "| D ")
    ] == [*"bCAD"]
    assert page.count(why.strip()) == 1
    assert page.count("| see 1 |") == 3
    assert page.count("\n1. ") == 2


def test_a_reason_is_one_line_of_its_table():
    page = render({Row("wrapper", "DataParallel", "refused"): "wrap it\nlater"}, [])
    assert "wrap it later" in page


SOURCE = """
import pytest
exact = pytest.mark.compatibility("batch", "tensors", "exact", note="as ever")

@exact
def test_one(): pass

@pytest.mark.compatibility("batch", "strings", "refused")
def test_two(record_property): record_property("reason", "give tensors")

@pytest.mark.compatibility("batch", "sets", "exact")
def test_three(): assert False

@pytest.mark.compatibility("batch", "missing", "exact")
def test_four(): pytest.skip("not installed")

@pytest.mark.compatibility("batch", "twice", "exact")
@pytest.mark.parametrize("right", [True, False])
def test_five(right): assert right

@pytest.mark.xfail(strict=False)
@pytest.mark.compatibility("batch", "by luck", "exact")
def test_six(): pass
"""


def test_only_rows_whose_tests_all_passed_are_written(tmp_path, capfd):
    (tmp_path / "test_rows.py").write_text(SOURCE, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = compatibility\n", encoding="utf-8")
    plugin = CompatibilityPage(tmp_path / "page.md")
    pytest.main(
        ["-q", "--rootdir", str(tmp_path), "-p", "no:cacheprovider", str(tmp_path)], [plugin]
    )
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert {row[1] for row in listed(page)} == {"tensors", "strings"}
    assert "| as ever |" in page
    assert "| give tensors |" in page
    assert "left out, for its test skipped: batch, missing" in capfd.readouterr().out


def test_a_row_in_no_table_is_an_error(tmp_path):
    (tmp_path / "test_rows.py").write_text(SOURCE.replace('"batch"', '"bach"'), encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = compatibility\n", encoding="utf-8")
    plugin = CompatibilityPage(None)
    assert pytest.main(["-q", "--rootdir", str(tmp_path), str(tmp_path)], [plugin]) != 0
