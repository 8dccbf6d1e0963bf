"""What is said of the pseudo-labels."""

import pytest

from examples.covid3d.measure.report.weights_section import pseudo_labels


@pytest.mark.parametrize(
    ("dices", "median"), [([0.1, 0.9, 0.2, 0.4], "0.300"), ([0.9, 0.1, 0.2], "0.200")]
)
def test_the_median_of_an_even_number_is_between_the_middle_two(dices, median):
    rows = [{"dice": str(dice)} for dice in dices] + [{"dice": ""}]
    text = " ".join(pseudo_labels(rows))
    assert f"of {len(dices)} pseudo-labels" in text
    assert f"median {median}" in text
