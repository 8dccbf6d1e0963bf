"""Names of scans: any that a file can have, in every table and figure."""

import pytest

from examples.covid3d.common.files import read_csv
from examples.covid3d.run.pipeline import run_stages
from tests.covid3d.measure.report.test_report import Balance
from tests.covid3d.running import nnunet, small

HOSTILE = [
    "a$x_$b", r"$\frac{$", "<script>alert(1)<", "{name}%s$", "naïve_Ω_肺",
    "\"'><img src=x onerror=y>",
    "&lt;$^_^$", "x" * 120,
]  # fmt: skip


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Of a run in which every hostile name is tested, in one of two folds."""
    folder = tmp_path_factory.mktemp("hostile")
    data = nnunet(folder / "data", len(HOSTILE))
    for index, name in enumerate(HOSTILE):
        for path in data.glob(f"*/case{index:02d}.nii.gz"):
            path.rename(path.with_name(f"{name}.nii.gz"))
    config = small(data=str(data), folds=2, methods=("supervised",))
    return run_stages(folder / "run", config).path / "report"


def test_no_name_of_a_scan_ends_the_report_or_becomes_markup(report):
    page = (report / "report.html").read_text(encoding="utf-8")
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    assert page.count("<script>") == page.count("</script>") == 1
    assert "<img src=x" not in page
    assert page.count("&quot;&#x27;&gt;&lt;img src=x onerror=y&gt;") >= 2
    assert (report / "overlay.png").read_bytes().startswith(b"\x89PNG")


def test_every_name_is_in_the_numbers_as_it_is(report):
    assert {row["scan"] for row in read_csv(report / "metrics.csv")} == set(HOSTILE)
