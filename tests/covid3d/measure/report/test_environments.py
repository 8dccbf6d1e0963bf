"""What units were made on, and what they differ in."""

from examples.covid3d.common.files import write_json
from examples.covid3d.measure.report.environments import common, differing, made_in

ONE = {"device": "cpu", "threads": 1, "torch": "2.6.0", "commit": None}


def test_units_made_alike_differ_in_nothing():
    made = {"teacher/seed0": [ONE], "student/seed0/equal": [ONE, ONE]}
    assert differing(made) == []
    assert common(made) == {
        "device": "cpu", "threads": "1", "torch": "2.6.0", "commit": "unknown"
    }  # fmt: skip


def test_what_differs_is_named_with_the_units_that_have_it():
    made = {"student/equal": [ONE], "student/rgs": [ONE | {"threads": 2}]}
    assert differing(made) == ["threads: 1 (student/equal); 2 (student/rgs)"]
    assert "threads" not in common(made)


def test_a_unit_that_was_resumed_elsewhere_differs_from_itself():
    made = {"student/equal": [ONE, ONE | {"torch": "2.7.0"}]}
    assert differing(made) == ["torch: 2.6.0, then 2.7.0 (student/equal)"]


def test_many_units_are_counted_and_not_listed():
    made = {f"student/{i}": [ONE] for i in range(9)} | {"teacher": [ONE | {"threads": 4}]}
    assert differing(made) == ["threads: 1 (9 units, student/0 among them); 4 (teacher)"]


def test_records_that_say_nothing_are_left_out(tmp_path):
    write_json(tmp_path / "teacher" / "seed0" / "stage.json", {"seconds": 3, "made": [ONE]})
    write_json(tmp_path / "student" / "s" / "equal" / "stage.json", {"seconds": 3})
    (tmp_path / "prepare").mkdir()
    (tmp_path / "prepare" / "stage.json").write_text("{cut")
    assert made_in(tmp_path) == {"teacher/seed0": [ONE]}
    assert made_in(tmp_path, ("student",)) == {}


def test_an_attempt_that_was_given_up_made_nothing(tmp_path):
    write_json(tmp_path / "teacher" / "seed0" / "stage.json", {"made": [ONE]})
    other = {"made": [ONE | {"threads": 2}]}
    write_json(tmp_path / "teacher" / "seed1.partial" / "stage.json", other)
    assert made_in(tmp_path) == {"teacher/seed0": [ONE]}
