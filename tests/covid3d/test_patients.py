import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.covid3d.errors import UserError
from examples.covid3d.patients import ROLES, patient_of, split_by_patient

BENCHMARK = [f"coronacases_{i:03d}" for i in range(1, 11)] + [
    "radiopaedia_10_85902_1",
    "radiopaedia_10_85902_3",
    "radiopaedia_14_85914_0",
    "radiopaedia_27_86410_0",
    "radiopaedia_29_86490_1",
    "radiopaedia_29_86491_1",
    "radiopaedia_36_86526_0",
    "radiopaedia_40_86625_0",
    "radiopaedia_4_85506_1",
    "radiopaedia_7_85703_0",
]
SHARES = (0.2, 0.2, 0.3, 0.3)


def test_two_series_of_a_study_are_one_patient():
    assert patient_of("radiopaedia_10_85902_1") == patient_of("radiopaedia_10_85902_3")
    assert patient_of("coronacases_001") != patient_of("coronacases_003")
    assert len({patient_of(name) for name in BENCHMARK}) == 19


@given(seed=st.integers(0, 10_000))
def test_no_patient_has_two_roles_and_every_role_is_filled(seed):
    roles = split_by_patient(BENCHMARK, SHARES, seed)
    assert set(roles) == set(BENCHMARK)
    assert set(roles.values()) == set(ROLES)
    assert roles["radiopaedia_10_85902_1"] == roles["radiopaedia_10_85902_3"]


def test_split_depends_on_the_seed_not_on_the_order():
    assert split_by_patient(BENCHMARK, SHARES, 1) == split_by_patient(BENCHMARK[::-1], SHARES, 1)
    assert split_by_patient(BENCHMARK, SHARES, 1) != split_by_patient(BENCHMARK, SHARES, 2)


def test_a_role_with_no_share_gets_nobody():
    roles = split_by_patient(BENCHMARK, (0.3, 0.3, 0.0, 0.4), 0)
    assert "unlabelled" not in roles.values()


def test_too_few_patients_is_an_error_that_says_so():
    with pytest.raises(UserError, match="2 patients"):
        split_by_patient(
            ["radiopaedia_10_85902_1", "radiopaedia_10_85902_3", "coronacases_001"], SHARES, 0
        )
