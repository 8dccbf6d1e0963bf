"""The page in a browser, where there is one: cases scroll, and stand still without a script."""

import json
import re
import shutil
import subprocess
from html import unescape

import pytest

BROWSER = next(filter(shutil.which, ("chromium", "chromium-browser", "google-chrome")), None)

ACT = """
<script>
const figure = document.querySelector(".case"), found = {};
const said = () => figure.querySelector("output").textContent;
const image = () => ["x", "y"].map((k) => figure.querySelector("image").getAttribute(k)).join();
const wheel = (by) => figure.querySelector(".slice").dispatchEvent(
  new WheelEvent("wheel", { deltaY: by, cancelable: true, bubbles: true }));
const key = (name) => figure.dispatchEvent(new KeyboardEvent("keydown", { key: name }));
key("Home"); found.first = said(); found.image = image();
found.taken = !wheel(100); found.second = said(); found.moved = image();
found.path = figure.querySelector(".slice path").getAttribute("d");
key("End"); found.last = said(); found.left = wheel(100);
key("q"); found.still = said();
const slider = figure.querySelector("input[type=range]");
slider.value = 2; slider.dispatchEvent(new Event("input")); found.third = said();
const box = figure.querySelector(".key input");
box.click(); found.gone = figure.querySelector(".slice path").style.display;
found.controls = [...document.querySelectorAll(".slider, .key input")].every((e) => !e.hidden);
document.body.innerHTML = "<pre>" + JSON.stringify(found) + "</pre>";
</script>
"""


def dumped(path, *options):
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", *options, "--dump-dom"]
    done = subprocess.run(
        [*command, path.as_uri()], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no browser")
def test_wheel_keys_slider_and_boxes_move_what_is_shown(finished, tmp_path):
    page = (finished[0] / "report" / "report.html").read_text(encoding="utf-8")
    (tmp_path / "page.html").write_text(page.replace("</body>", f"{ACT}</body>"), "utf-8")
    text = re.search("<pre>(.*?)</pre>", dumped(tmp_path / "page.html"), re.DOTALL).group(1)
    found = json.loads(unescape(text))
    data = json.loads(unescape(re.search('data-slices="(.*?)"', page).group(1)))
    numbers = data["numbers"]
    shown = [f"slice {number} of {data['of']}" for number in numbers]
    assert (found["first"], found["second"], found["third"]) == tuple(shown[:3])
    assert found["last"] == found["still"] == shown[-1]
    assert found["path"] == data["paths"][0][1]
    assert (found["image"], found["moved"]) == ("0,0", f"{-data['width']},0")
    # The page scrolls on where there is no further slice.
    assert found["taken"] is True
    assert found["left"] is True
    assert found["gone"] == "none"
    assert found["controls"] is True


MEASURE = """
<script>
onload = () => {
  const wide = (d) => d.documentElement.scrollWidth > d.documentElement.clientWidth;
  const inside = document.querySelector("iframe").contentDocument;
  const tables = [...inside.querySelectorAll(".scroll")];
  const found = {
    width: inside.documentElement.clientWidth, page: wide(inside), tables: tables.length,
    scroll: tables.filter((t) => t.scrollWidth > t.clientWidth).map((t) => t.innerText),
  };
  document.body.innerHTML = "<pre>" + JSON.stringify(found) + "</pre>";
};
</script>
"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no browser")
@pytest.mark.parametrize("width", [1280, 390])
def test_no_page_and_on_a_laptop_no_table_scrolls_sideways(finished, tmp_path, width):
    page = (finished[0] / "report" / "report.html").read_text(encoding="utf-8")
    (tmp_path / "page.html").write_text(page, "utf-8")
    # A window has a least width, a frame has none.
    frame = f'<iframe src="page.html" style="width:{width}px;height:800px;border:0"></iframe>'
    (tmp_path / "frame.html").write_text(f"<body>{frame}{MEASURE}</body>", "utf-8")
    text = dumped(tmp_path / "frame.html", "--allow-file-access-from-files")
    found = json.loads(unescape(re.search("<pre>(.*?)</pre>", text, re.DOTALL).group(1)))
    assert found["width"] <= width
    assert found["tables"] > 4
    assert found["page"] is False
    if width > 1000:
        assert found["scroll"] == []


def test_without_a_script_the_slice_stands_with_its_outlines_and_no_dead_controls(finished):
    page = (finished[0] / "report" / "report.html").read_text(encoding="utf-8")
    figures = re.findall(r'<figure class="case".*?</figure>', page, re.DOTALL)
    assert len(figures) == 2
    for figure in figures:
        data = json.loads(unescape(re.search('data-slices="(.*?)"', figure).group(1)))
        drawn = re.findall('<path class="o[0-9]" d="(.*?)">', figure)
        assert drawn == [own[data["start"]] for own in data["paths"]]
        x, y = re.search('<image [^>]* x="(.*?)" y="(.*?)"', figure).groups()
        place = int(x) // -data["width"] + int(y) // -data["height"] * data["columns"]
        assert place == data["start"]
        assert '<div class="slider" hidden>' in figure
        assert figure.count("<input") == figure.count("<label") + 1
        assert figure.count("checked hidden") == figure.count("<label")
        assert 'role="img" aria-label="Axial slice ' in figure
