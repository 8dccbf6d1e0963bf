"""Who is trusted: names from a file, or drawn by chance; and what cannot be."""

import dataclasses

import pytest

from examples.covid3d.audit.settings import DEFAULTS
from examples.covid3d.audit.trusted import check_names, check_number, divide, read_names
from examples.covid3d.common.errors import UserError
from tests.covid3d.entries import cohort, entry


def trusting(**changes):
    return dataclasses.replace(DEFAULTS, data="x", **changes)


def test_names_are_read_one_a_line_whatever_the_line_ends(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes("\ufeffa b\r\n\r\n =1+1 \nç$x_$\n".encode())
    assert read_names(path) == ("a b", "=1+1", "ç$x_$")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b" \n\n", "no names"),
        (b"a\nb\na\n", "a more than once"),
        (b"a\n", "at least 2"),
    ],
)
def test_a_file_that_names_no_usable_set_is_refused(tmp_path, content, said):
    path = tmp_path / "names.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=said):
        read_names(path)


def test_unknown_names_are_refused_with_an_example_of_known_ones():
    with pytest.raises(UserError, match=r"called b(.|\n)*such as a"):
        check_names(["a", "b"], ["a", "c"])


@pytest.mark.parametrize("number", [0, 1])
def test_too_few_are_refused(number):
    with pytest.raises(UserError, match="at least 2"):
        check_number(number)


def test_named_scans_are_trusted_and_all_other_masks_judged():
    entries = [*cohort(4), entry("bare", mask=False)]
    roles = divide(entries, trusting(trusted_scans=("s1_0", "s3_0"))).roles
    assert roles["trusted"] == ("s1_0", "s3_0")
    assert roles["unlabelled"] == ("s0_0", "s2_0")


def test_chance_draws_one_scan_of_each_patient_and_empty_masks_last():
    entries = cohort(5, scans=2)
    entries[:4] = [dataclasses.replace(one, foreground_ml=0.0) for one in entries[:4]]
    for seed in range(20):
        config = trusting(trusted=3, seeds=(seed,))
        trusted = divide(entries, config).roles["trusted"]
        assert {name[:2] for name in trusted} == {"s2", "s3", "s4"}
        assert divide(entries[::-1], config).roles["trusted"] == trusted


def test_chance_goes_by_the_seed():
    drawn = {
        divide(cohort(9), trusting(trusted=3, seeds=(seed,))).roles["trusted"] for seed in range(9)
    }
    assert len(drawn) > 3


def test_a_trusted_scan_that_was_rejected_stops_the_audit():
    with pytest.raises(UserError, match="lost could not be used"):
        divide(cohort(4), trusting(trusted_scans=("s1_0", "lost")))


def test_something_must_be_left_to_judge():
    with pytest.raises(UserError, match="2 to be judged"):
        divide(cohort(3), trusting(trusted=3))
