import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from examples.covid3d.measure.report.paper import INCONSISTENT, P_VALUES, TABLE2, TABLE3, TABLE4

PAPER = Path(__file__).resolve().parents[4].parent / "shared" / "paper.txt"
TABLES = {2: TABLE2, 3: TABLE3}
NAMES = {
    2: ["supervised", "semi-supervised", "rgs", "rgm", "rgsm", "rgsm-al"],
    3: ["supervised", "rgs", "rgs-al", "rgsm-al"],
}
LINES = [(n, m, k) for n, table in TABLES.items() for m in table for k in table[m]]


@pytest.fixture(scope="module")
def paper():
    if not PAPER.is_file():
        pytest.skip(f"no text of the paper in {PAPER}")
    # Named, because libraries that read DICOM may set the process to the C locale.
    text = PAPER.read_text(encoding="utf-8")
    text = text.replace("$", "").replace("{\\pm}", "±").replace("\\pm", "±")
    return re.sub(r"\s*±\s*", "±", text)


def printed_lines(paper, number):
    """The lines of numbers below the caption of Table 2 or 3, in order."""
    body = paper.split(f"\nTable {number} ")[1].split("\n\n", 2)[1]
    found = [re.findall(r"[\d.]+±[\d.]+", line) for line in body.splitlines()]
    return [line for line in found if line]


def as_printed(metric):
    return [f"{p.mean}±{p.std}" for p in (*metric.folds, metric.average)]


@pytest.mark.parametrize("number", [2, 3])
def test_tables_2_and_3_are_the_papers_line_by_line(paper, number):
    ours = [as_printed(TABLES[number][m][k]) for m in NAMES[number] for k in ("dice", "hd_mm")]
    assert ours == printed_lines(paper, number)


@pytest.mark.parametrize("number", [2, 3])
def test_every_method_has_every_fold_in_order(number):
    assert list(TABLES[number]) == NAMES[number]
    folds = {2: 5, 3: 4}[number]
    assert all(
        len(line.folds) == folds for m in NAMES[number] for line in TABLES[number][m].values()
    )


def test_table_4_is_the_papers(paper):
    body = paper.split("\nTable 4 ")[1].split("\n\n", 2)[1]
    numbers = re.findall(r"\t([\d.]+(?:±[\d.]+)?)\t", body)
    assert [row.dice.text.replace(" ", "") for row in TABLE4.values()] == numbers
    names = re.findall(r"\t([^\t]+)\t[\d.]+(?:±[\d.]+)?\t", body)
    assert [row.name for row in TABLE4.values()] == names


@pytest.mark.parametrize("number", [2, 3, 4])
def test_p_values_are_the_papers_in_their_order(paper, number):
    said = [
        re.findall(r"\d\.\d+(?:e-\d+)?", p) for p in re.findall(r"p-values are (.*?) for", paper)
    ]
    assert list(P_VALUES[number].values()) == said[number - 2]
    assert set(P_VALUES[number]) <= set({2: TABLE2, 3: TABLE3, 4: TABLE4}[number])


def departure(number, method, metric):
    """Mean and std: how far the folds' mean is from the printed average, in its last digit."""
    line = TABLES[number][method][metric]
    unit = 10.0 ** -len(line.average.mean.partition(".")[2])
    mean = np.mean([p.value for p in line.folds]) - line.average.value
    std = np.mean([p.spread for p in line.folds]) - line.average.spread
    return abs(mean) / unit, abs(std) / unit


def test_averages_are_those_of_the_folds_but_for_the_ones_listed():
    """Cut and not rounded, an average may be off by one in its last digit."""
    means = [line for line in LINES if departure(*line)[0] > 1.001]
    assert tuple(means) == INCONSISTENT
    assert not [line for line in LINES if departure(*line)[1] > 1.001]


def test_some_averages_are_cut_and_not_rounded():
    line = TABLE2["supervised"]["dice"]
    assert np.mean([p.spread for p in line.folds]) == pytest.approx(0.2288)
    assert line.average.std == "0.228"


def test_the_slip_turns_the_best_hausdorff_distance_into_a_worse_one():
    means = {m: np.mean([p.value for p in TABLE3[m]["hd_mm"].folds]) for m in TABLE3}
    assert means["rgsm-al"] == pytest.approx(44.1325)
    assert min(means, key=means.get) == "supervised"
    printed = {m: TABLE3[m]["hd_mm"].average.value for m in TABLE3}
    assert min(printed, key=printed.get) == "rgsm-al"


def two_sample(one, other, n):
    return stats.ttest_ind_from_stats(one.value, one.spread, n, other.value, other.spread, n).pvalue


@pytest.mark.parametrize("method", P_VALUES[2])
def test_p_values_of_table_2_count_flips_as_patients(method):
    best, other = TABLE2["rgsm-al"]["dice"].average, TABLE2[method]["dice"].average
    assert two_sample(best, other, 796) == pytest.approx(float(P_VALUES[2][method]), abs=1e-4)
    assert two_sample(best, other, 199) > 0.13


def test_on_five_fold_means_table_2_has_another_p():
    best, other = ([p.value for p in TABLE2[m]["dice"].folds] for m in ("rgsm-al", "supervised"))
    assert stats.ttest_ind(best, other).pvalue == pytest.approx(0.11, abs=0.005)


def test_numbers_and_text():
    fan, rgs = TABLE4["semi-supervised"].dice, TABLE4["rgs"].dice
    assert (fan.text, fan.value, fan.spread) == ("0.5970", 0.597, None)
    assert (rgs.text, rgs.value, rgs.spread) == ("0.7548 ± 0.06517", 0.7548, 0.06517)
    assert TABLE2["supervised"]["hd_mm"].folds[1].text == "37.50 ± 09.54"
