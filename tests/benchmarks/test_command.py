"""What a report shows of the command that made it."""

from __future__ import annotations

from benchmarks.command import shown


def test_where_things_lie_is_left_out():
    words = ["fashion", "--data", "/home/someone/x", "--output=/tmp/y", "--rates", "0.1", "a b"]
    assert shown("m", words) == "python -m m fashion --data PATH --output=PATH --rates 0.1 'a b'"


def test_no_words():
    assert shown("benchmarks.scaling", []) == "python -m benchmarks.scaling"
