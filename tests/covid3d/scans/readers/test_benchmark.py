import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.covid3d.common.errors import UserError
from examples.covid3d.scans.patients import patient_of
from examples.covid3d.scans.readers.benchmark import IMAGES, MASKS, canonical_name, read
from tests.covid3d.scans.readers.tree import plant, reasons

ORG = "radiopaedia_org_covid-19-pneumonia-4_85506_1-dcm"
NUMBER = st.integers(0, 10**7)


def test_image_and_mask_of_different_schemes_are_paired(tmp_path):
    plant(
        tmp_path,
        f"{IMAGES}/coronacases_org_001.nii",
        f"{MASKS}/coronacases_001.nii.gz",
        f"{IMAGES}/radiopaedia_4_85506_1.nii.gz",
        f"{MASKS}/{ORG}.nii",
        f"{IMAGES}/expert_01.nii.gz",
        f"{MASKS}/expert_01.nii.gz",
    )
    found = read(tmp_path)
    assert found.rejected == []
    assert [(s.name, s.patient, s.image.name, s.mask.name) for s in found.scans] == [
        ("coronacases_001", "coronacases_001", "coronacases_org_001.nii", "coronacases_001.nii.gz"),
        ("expert_01", "expert_01", "expert_01.nii.gz", "expert_01.nii.gz"),
        (
            "radiopaedia_4_85506_1",
            "radiopaedia_4_85506",
            "radiopaedia_4_85506_1.nii.gz",
            f"{ORG}.nii",
        ),
    ]
    assert all(s.image.exists() and s.mask.exists() and s.image.is_absolute() for s in found.scans)
    assert {s.source for s in found.scans} == {"benchmark"}
    assert {s.series for s in found.scans} == {None}


def test_twenty_scans_of_nineteen_patients(tmp_path):
    cases = ["10_85902_1", "10_85902_3", "14_85914_0", "27_86410_0", "29_86490_1", "29_86491_1"]
    cases += ["36_86526_0", "40_86625_0", "4_85506_1", "7_85703_0"]
    names = [f"coronacases_org_{i:03d}.nii" for i in range(1, 11)]
    names += [f"radiopaedia_org_covid-19-pneumonia-{case}-dcm.nii" for case in cases]
    for name in names:
        plant(tmp_path, f"{IMAGES}/{name}", f"{MASKS}/{name}", shape=(1, 1, 1))
    scans = read(tmp_path).scans
    assert len(scans) == 20
    assert len({scan.patient for scan in scans}) == 19
    twice = [scan.name for scan in scans if scan.patient == "radiopaedia_10_85902"]
    assert twice == ["radiopaedia_10_85902_1", "radiopaedia_10_85902_3"]


def test_scan_without_mask_and_mask_without_scan_are_rejected(tmp_path):
    plant(tmp_path, f"{IMAGES}/a.nii.gz", f"{MASKS}/a.nii.gz")
    plant(tmp_path, f"{IMAGES}/coronacases_org_002.nii", f"{MASKS}/coronacases_003.nii.gz")
    plant(tmp_path, f"{IMAGES}/._a.nii.gz", f"{MASKS}/.b.nii.gz")
    (tmp_path / IMAGES / "notes.txt").write_text("no scan")
    found = read(tmp_path)
    assert [scan.name for scan in found.scans] == ["a"]
    assert reasons(found) == {
        "coronacases_org_002.nii": f"no mask coronacases_002.nii.gz in {MASKS}",
        "coronacases_003.nii.gz": f"a mask without a scan coronacases_003.nii.gz in {IMAGES}",
    }


@pytest.mark.parametrize("folder", [IMAGES, MASKS])
def test_two_files_of_one_scan_are_an_error(tmp_path, folder):
    plant(tmp_path, f"{IMAGES}/coronacases_001.nii.gz", f"{MASKS}/coronacases_001.nii.gz")
    plant(tmp_path, f"{folder}/coronacases_org_001.nii")
    with pytest.raises(UserError, match="second file of scan coronacases_001"):
        read(tmp_path)


@pytest.mark.parametrize("missing", [IMAGES, MASKS])
def test_a_missing_folder_is_an_error_that_names_the_layout(tmp_path, missing):
    present = MASKS if missing == IMAGES else IMAGES
    plant(tmp_path, f"{present}/a.nii.gz")
    with pytest.raises(UserError, match=f"{missing}: no such folder"):
        read(tmp_path)


@given(case=NUMBER, study=NUMBER, series=NUMBER, width=st.integers(0, 8))
def test_both_schemes_have_one_canonical_name_for_all_numbers(case, study, series, width):
    radiopaedia = f"radiopaedia_{case}_{study}_{series}"
    organic = f"radiopaedia_org_covid-19-pneumonia-{case}_{study}_{series}-dcm"
    assert canonical_name(organic) == canonical_name(radiopaedia) == radiopaedia
    assert patient_of(canonical_name(organic)) == f"radiopaedia_{case}_{study}"
    corona = f"coronacases_{case:0{width}d}"
    assert canonical_name(f"coronacases_org_{case:0{width}d}") == canonical_name(corona) == corona


@given(st.lists(st.tuples(NUMBER, NUMBER, NUMBER), unique=True, max_size=20))
def test_different_scans_have_different_names(cases):
    names = {
        canonical_name(f"radiopaedia_org_covid-19-pneumonia-{a}_{b}_{c}-dcm") for a, b, c in cases
    }
    assert len(names) == len(cases)


@given(st.text())
def test_other_names_stay_and_naming_twice_changes_nothing(stem):
    once = canonical_name(stem)
    assert canonical_name(once) == once
    if "_org_" not in stem:
        assert once == stem


def test_real_folder(real_data):
    found = read(real_data / "covid_ct")
    assert len(found.scans) == 10
    assert found.rejected == []
    assert len({scan.patient for scan in found.scans}) == 10
