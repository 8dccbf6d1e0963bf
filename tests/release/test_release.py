"""A release is of one version, and what it leaves out is noticed."""

from __future__ import annotations

import io
import tarfile
import tomllib
import zipfile

import pytest

import reweight
from release import __main__ as release

WHEEL = {
    "reweight/__init__.py": "",
    "reweight/py.typed": "",
    "x-1.dist-info/METADATA": "A: b\n\nHi",
}


def wheel(folder, **changes):
    path = folder / "x-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {**WHEEL, **changes}.items():
            if text is not None:
                archive.writestr(name, text)
    return path


def sources(folder, names, page="Hi"):
    path = folder / "x-1.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name in (*names, "README.md"):
            content = page.encode()
            entry = tarfile.TarInfo(f"x-1/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def test_the_version_stands_in_one_place_and_is_that_of_the_citation():
    assert release.version_of(release.ROOT) == reweight.__version__
    project = tomllib.loads((release.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" not in project["project"]
    cited = (release.ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {reweight.__version__}\n" in cited


def test_the_core_needs_little():
    project = tomllib.loads((release.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    names = {need.partition(">")[0] for need in project["project"]["dependencies"]}
    assert names == {"torch", "torchopt", "typing-extensions"}


def test_what_is_not_told_of_in_the_changelog_is_no_release(tmp_path):
    (tmp_path / "CHANGELOG.md").write_text("## [Unreleased]\n", encoding="utf-8")
    (tmp_path / "CITATION.cff").write_text("version: 1.0.0\n", encoding="utf-8")
    assert "no section [1.0.0]" in release.unfit(tmp_path, "1.0.0")
    (tmp_path / "CHANGELOG.md").write_text("## [1.0.0] - 2026-01-01\n", encoding="utf-8")
    assert release.unfit(tmp_path, "1.0.0") is None
    assert "another version" in release.unfit(tmp_path, "1.0.1") or "no section" in release.unfit(
        tmp_path, "1.0.1"
    )


def test_a_good_wheel_and_good_sources_pass(tmp_path):
    assert release.wrong_with(wheel(tmp_path)) is None
    assert release.wrong_with(sources(tmp_path, release.NEEDED_IN_SOURCES)) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tests/__init__.py": ""}, "would install tests"),
        ({"reweight/py.typed": None}, "no reweight/py.typed"),
        ({"x-1.dist-info/METADATA": "A: b\n\n[guide](docs/guide.md)"}, "cannot follow"),
    ],
)
def test_a_bad_wheel_is_refused(tmp_path, changes, said):
    assert said in release.wrong_with(wheel(tmp_path, **changes))


def test_sources_that_lack_something_are_refused(tmp_path):
    assert "lacks docs/guide.md" in release.wrong_with(
        sources(tmp_path, [n for n in release.NEEDED_IN_SOURCES if n != "docs/guide.md"])
    )
    page = "[guide](docs/guide.md)"
    assert "cannot follow" in release.wrong_with(sources(tmp_path, release.NEEDED_IN_SOURCES, page))


def test_the_project_says_where_it_is(tmp_path):
    for name in ("README.md", "pyproject.toml"):
        (tmp_path / name).write_text((release.ROOT / name).read_text(encoding="utf-8"))
    release.prepare(tmp_path, "https://example.org/owner/name", "1.2.3")
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["urls"]["Issues"] == "https://example.org/owner/name/issues"


def test_an_address_that_is_none_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        release.main(["--source", "here"])
    assert ended.value.code == 2
    assert "begins with https://" in capsys.readouterr().err
