"""Every data set, as the tensors that a training takes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from benchmarks.errors import UserError
from benchmarks.sets.fashion import Fashion, make_problem
from benchmarks.sets.setting import Setting
from benchmarks.sets.sources import SOURCES
from benchmarks.sets.splits import split

SETTINGS = {
    "fashion": Setting("f", "fashion", "symmetric-40", 2, 20, 80, 16),
    "cifar10n": Setting("c", "cifar10n", "worse", 2, 20, 40, 16),
    "youtube": Setting("y", "youtube", "pairs", 2, 20),
    "hausa": Setting("h", "hausa", "votes", 2, 20),
    "ner": Setting("n", "ner", "", 2, 20),
}


@pytest.fixture(scope="module")
def read(every_set):
    return {name: SOURCES[name].read(SOURCES[name].find(every_set)) for name in SETTINGS}


@pytest.mark.parametrize("source", SETTINGS)
def test_the_same_seed_gives_the_same_problem_and_a_network_that_takes_it(read, source):
    first, second, other = (read[source].problem(SETTINGS[source], 8, seed) for seed in (0, 0, 1))
    for name in ("pool", "trusted", "validation", "test"):
        inputs, labels = getattr(first, name)
        assert len(inputs) == len(labels) > 0
        assert torch.equal(inputs, getattr(second, name)[0])
        assert int(labels.max()) < first.classes
    assert not torch.equal(first.trusted[0], other.trusted[0]) or source == "ner"
    output = first.network(0, "weights")(first.pool[0][:3])
    assert tuple(output.shape) == (3, first.classes)
    assert torch.equal(output, second.network(0, "weights")(second.pool[0][:3]))
    assert not torch.equal(output, first.network(1, "weights")(first.pool[0][:3]))


def test_people_were_wrong_of_about_a_quarter_of_the_photographs(read):
    problem = read["cifar10n"].problem(SETTINGS["cifar10n"], 8, 0)
    assert tuple(problem.pool[0].shape) == (40, 3, 32, 32)
    assert 0 < (problem.pool[1] != problem.truth).sum() < 20
    pixels = problem.pool[0].double()
    torch.testing.assert_close(pixels.mean((0, 2, 3)), torch.zeros(3).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(pixels.std((0, 2, 3)), torch.ones(3).double(), atol=1e-3, rtol=0)


def numbers_of(data, inputs):
    """Which training text each row of inputs is."""
    known = {row.numpy().tobytes(): k for k, row in enumerate(data._train.inputs)}
    return [known[row.numpy().tobytes()] for row in inputs]


def test_a_text_has_a_sample_for_each_rule_that_spoke(read):
    data = read["youtube"]
    problem = data.problem(SETTINGS["youtube"], 4, 0)
    said = data._train.said
    trusted = set(numbers_of(data, problem.trusted[0]))
    texts = numbers_of(data, problem.pool[0])
    assert len(trusted) == 12
    assert problem.trusted[1].bincount().tolist() == [4, 4, 4]
    rest = [k for k in range(60) if k not in trusted]
    expected = [(k, label) for k in rest for label in said[k].tolist() if label >= 0]
    assert sorted(zip(texts, problem.pool[1].tolist(), strict=True)) == sorted(expected)
    assert len(set(zip(texts, problem.items.tolist(), strict=True))) == len(set(texts))
    # The last rule is wrong always, the first two never.
    wrong = (problem.pool[1] != problem.truth).double()
    by_source = {float(wrong[problem.groups == g].mean()) for g in problem.groups.unique()}
    assert by_source == {0.0, 1.0}


def test_votes_are_one_a_text_and_of_the_majority(read):
    data = read["hausa"]
    problem = data.problem(SETTINGS["hausa"], 4, 0)
    texts = numbers_of(data, problem.pool[0])
    assert len(set(texts)) == len(texts)
    for k, label in zip(texts, problem.pool[1].tolist(), strict=True):
        votes = [said for said in data._train.said[k].tolist() if said >= 0]
        assert votes.count(label) == max(map(votes.count, votes))


def test_a_small_trusted_set_of_texts_lies_in_the_large(read):
    small, large = (read["youtube"].problem(SETTINGS["youtube"], n, 0).trusted[0] for n in (2, 6))
    held = {row.numpy().tobytes() for row in large}
    assert {row.numpy().tobytes() for row in small} <= held


def test_names_are_judged_by_f1_and_nobody_knows_the_truth_of_the_pool(read):
    problem = read["ner"].problem(SETTINGS["ner"], 8, 0)
    assert problem.truth is None
    assert problem.classes == 2
    assert len(problem.trusted[1]) == 8 * 5
    assert len(problem.validation[1]) == 22 * 5
    labels = torch.tensor([0, 1, 1, 2, 0])
    assert problem.metric(torch.tensor([0, 1, 2, 2, 1]), labels) == pytest.approx(2 * 2 / (4 + 3))
    assert problem.metric(torch.zeros(5), torch.zeros(5)) == 0.0


def test_inputs_are_standardised_by_the_pool(data):
    problem = make_problem(data, "symmetric-40", 80, 16, 8, seed=0)
    parts = split(data.labels, [20] * 4, 16, 8, seed=0)
    pool = data.images[parts.pool].double()
    for inputs, images in (
        (problem.pool[0], pool),
        (problem.validation[0], data.images[parts.validation].double()),
        (problem.trusted[0], data.images[parts.trusted].double()),
        (problem.test[0], data.test_images.double()),
    ):
        expected = ((images - pool.mean()) / pool.std()).float().unsqueeze(1)
        torch.testing.assert_close(inputs, expected, atol=1e-5, rtol=1e-5)


def test_a_teacher_labels_the_pool(folder):
    fashion = Fashion(folder)
    setting = replace(SETTINGS["fashion"], noise="teacher", epochs=2)
    first, again = (fashion.problem(setting, 8, 0) for _ in range(2))
    assert torch.equal(first.pool[1], again.pool[1])
    assert not torch.equal(first.pool[1], first.truth)
    assert 0 < first.teacher < 1


@pytest.mark.parametrize("source", SETTINGS)
def test_damaged_files_are_an_error_in_words(tmp_path, source):
    names = {
        "fashion": ["train-images-idx3-ubyte"],
        "cifar10n": ["train.npz"],
        "ner": ["tag_to_id.json"],
    }
    for name in names.get(source, ["train.json"]):
        (tmp_path / name).write_bytes(b"{")
    found = SOURCES[source].find(tmp_path) if source not in ("youtube", "hausa") else tmp_path
    with pytest.raises(UserError, match=str(tmp_path)):
        SOURCES[source].read(found)


def test_a_trusted_set_that_is_too_large(read):
    with pytest.raises(UserError, match="--trusted 20 texts a class are too many"):
        read["youtube"].problem(SETTINGS["youtube"], 20, 0)
    with pytest.raises(UserError, match="--trusted 30 sentences of 30"):
        read["ner"].problem(SETTINGS["ner"], 30, 0)
