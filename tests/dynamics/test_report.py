"""A report is one whole file, shows what it is given, and lets nothing through unescaped."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reweight import TrainingDynamics
from reweight.dynamics.report.pictures import pixels
from reweight.dynamics.report.png import png
from tests.dynamics.steps import Step

COUNT = 30
NASTY = '<script>alert("x")</script>&\'"'


@pytest.fixture(autouse=True)
def _on_the_cpu():
    before = torch.get_default_device()
    torch.set_default_device("cpu")
    yield
    torch.set_default_device(before)


def dynamics(wrong=6, classes=4, num_samples=COUNT):
    """Every class is plain to see, and the first ``wrong`` ids have the next one's name."""
    truth = torch.arange(COUNT) % classes
    labels = truth.clone()
    labels[:wrong] = (labels[:wrong] + 1) % classes
    generator = torch.Generator().manual_seed(0)
    found = TrainingDynamics(num_samples)
    for _ in range(3):
        logits = torch.randn(COUNT, classes, generator=generator)
        logits[torch.arange(COUNT), truth] += 6
        losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
        step = Step(torch.arange(COUNT), losses, torch.ones(COUNT), logits, labels)
        found.learn(step.context(), step.weights)
    return found


class Page(HTMLParser):
    """Checks that tags close in the order they open, and gathers what a test looks for."""

    VOID = ("meta", "img", "line", "rect", "br")

    def __init__(self, path):
        super().__init__()
        self.open, self.tags, self.text, self.images = [], [], "", []
        self.whole = path.read_text(encoding="utf-8")
        self.feed(self.whole)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attributes)["src"])
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        del attrs
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text += data


def written(tmp_path, found=None, **options):
    path = tmp_path / "issues.html"
    assert (found or dynamics()).report(path, **options) == path
    return Page(path)


def test_the_headline_says_how_many_and_the_cards_which(tmp_path):
    page = written(tmp_path, class_names=["cat", "dog", "cow", "hen"])
    assert "6 of 30 labels look wrong (20.0%)" in page.text
    assert page.tags.count("article") == 6
    assert set(re.findall(r"id(\d+)quality", page.text)) == set("012345")
    assert "dog→ cat" in page.text
    assert page.tags.count("svg") == 3
    assert page.images == []


def test_nothing_is_fetched_or_run(tmp_path):
    page = written(tmp_path, images=torch.rand(COUNT, 1, 5, 5))
    assert "default-src 'none'" in page.whole
    assert "script" not in page.tags
    assert "link" not in page.tags
    for address in re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?([^\"')>]*)", page.whole):
        assert address.startswith("data:image/png;base64,")
    assert "http:" not in page.whole
    assert "https:" not in page.whole


def test_names_texts_and_title_are_escaped(tmp_path):
    page = written(
        tmp_path,
        class_names=[NASTY + str(n) for n in range(4)],
        texts=[NASTY] * COUNT,
        title=NASTY,
    )
    assert "<script" not in page.whole
    assert page.text.count(NASTY) > 10


@pytest.mark.parametrize(
    "source",
    [
        lambda x: x,
        lambda x: list(x.numpy()),
        lambda x: lambda number: x[number],
        lambda x: [(image, 7, "more") for image in x],
        lambda x: [{"image": image, "label": 7} for image in x],
        lambda x: [Image.fromarray(image.movedim(0, -1).numpy()) for image in x],
        lambda x: torch.utils.data.TensorDataset(x, torch.zeros(len(x))),
    ],
    ids=["tensor", "arrays", "function", "tuples", "dicts", "pil", "data set"],
)
def test_pictures_come_from_all_that_holds_them(tmp_path, source):
    x = torch.randint(0, 256, (COUNT, 3, 4, 5), dtype=torch.uint8)
    found = dynamics()
    page = written(tmp_path, found, images=source(x), worst=2)
    for address, number in zip(page.images, found.find_label_issues().id[:2], strict=True):
        raw = base64.b64decode(address.removeprefix("data:image/png;base64,"))
        shown = torch.from_numpy(np.array(Image.open(io.BytesIO(raw))))
        torch.testing.assert_close(shown, x[number].movedim(0, -1))


def test_the_confusion_table_counts_given_by_suggested(tmp_path):
    page = written(tmp_path)
    rows = re.findall(r'<th scope="row">(\d)</th>(.*?)</tr>', page.whole)
    counts = [
        [int(cell or 0) for cell in re.findall(r"<td[^>]*>(\d*)</td>", cells)] for _, cells in rows
    ]
    # ids 0 to 5 are of classes 0 1 2 3 0 1, each given the next one
    assert counts == [[0, 0, 0, 1], [2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 1, 0]]


def test_many_classes_make_a_list_of_the_commonest_pairs(tmp_path):
    page = written(tmp_path, dynamics(classes=25))
    assert 'class="plain"' in page.whole
    assert 'class="heat"' not in page.whole


def test_without_issues_the_lowest_qualities_are_shown(tmp_path):
    page = written(tmp_path, dynamics(wrong=0))
    assert "0 of 30 labels look wrong" in page.text
    assert "None of them is an issue." in page.text


def test_ids_never_seen_are_spoken_of(tmp_path):
    page = written(tmp_path, dynamics(num_samples=COUNT + 2))
    assert "2 ids were never seen in the training and are not judged." in page.text
    assert "nan" not in page.text.lower()


def test_losses_alone_make_a_report_too(tmp_path):
    found = TrainingDynamics(COUNT)
    step = Step(torch.arange(COUNT), torch.rand(COUNT), torch.ones(COUNT))
    found.learn(step.context(), step.weights)
    page = written(tmp_path, found)
    assert page.tags.count("svg") == 2
    assert "nan" not in page.text.lower()


def test_a_table_cut_short_may_be_reported_and_named_later(tmp_path):
    found = dynamics()
    names = ["cat", "dog", "cow", "hen"]
    page = written(tmp_path, found, issues=found.find_label_issues()[:3], class_names=names)
    assert "3 of 3 labels look wrong" in page.text
    written(tmp_path, found, issues=found.find_label_issues()[:0], class_names=names)
    with pytest.raises(ValueError, match="one a class"):
        written(tmp_path, found, issues=found.find_label_issues(), class_names=names[:2])


def test_a_report_that_fails_leaves_the_old_one_and_nothing_else(tmp_path):
    found = dynamics()
    path = found.report(tmp_path / "issues.html")
    before = path.read_bytes()
    with pytest.raises(TypeError, match="picture"):
        found.report(path, images=["no picture"] * COUNT)
    assert path.read_bytes() == before
    assert [entry.name for entry in Path(tmp_path).iterdir()] == ["issues.html"]


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (4, 7, 3)])
def test_a_png_is_read_back_as_it_was(shape):
    values = torch.randint(0, 256, shape, dtype=torch.uint8)
    found = np.array(Image.open(io.BytesIO(png(values))))
    torch.testing.assert_close(torch.from_numpy(found), values)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((6, 9), (6, 9)),
        ((1, 6, 9), (6, 9)),
        ((6, 9, 1), (6, 9)),
        ((3, 6, 9), (6, 9, 3)),
        ((4, 6, 9), (6, 9, 3)),
        ((6, 9, 3), (6, 9, 3)),
        ((5, 6, 9), (6, 9 + 9 + 6)),
        ((1, 5, 6, 9), (6, 9 + 9 + 6)),
        ((1024, 512), (256, 128)),
    ],
)
def test_planes_and_volumes_have_pixels(shape, expected):
    assert pixels(torch.rand(shape)).shape == expected


def test_a_volume_shows_the_middle_slice_across_each_side():
    volume = torch.randint(0, 256, (5, 6, 9), dtype=torch.uint8)
    shown = pixels(volume)
    torch.testing.assert_close(shown[:, :9], volume[2])
    torch.testing.assert_close(shown[:5, 9:18], volume[:, 3])
    torch.testing.assert_close(shown[:5, 18:], volume[:, :, 4])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[0.0, 0.2], [0.4, 1.0]], [[0, 51], [102, 255]]),
        ([[-1.0, 0.0], [1.0, 1.0]], [[0, 128], [255, 255]]),
        ([[float("nan"), -1000.0], [1000.0, 0.0]], [[0, 0], [255, 128]]),
        ([[0, 100], [200, 255]], [[0, 100], [200, 255]]),
        ([[-1000, 0], [1000, 1000]], [[0, 128], [255, 255]]),
        ([[True, False]], [[255, 0]]),
        ([[7.0, 7.0]], [[0, 0]]),
    ],
)
def test_numbers_in_a_pictures_range_stay_and_others_are_stretched(values, expected):
    assert pixels(torch.tensor(values)).tolist() == expected


@pytest.mark.parametrize("shape", [(0, 3), (2,), (1, 1, 2, 3, 4)])
def test_what_is_no_picture_is_refused(shape):
    with pytest.raises(ValueError, match="picture"):
        pixels(torch.zeros(shape))
