from examples.covid3d.scans.patients import patient_of

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


def test_two_series_of_a_study_are_one_patient():
    assert patient_of("radiopaedia_10_85902_1") == patient_of("radiopaedia_10_85902_3")
    assert patient_of("coronacases_001") != patient_of("coronacases_003")
    assert len({patient_of(name) for name in BENCHMARK}) == 19
