"""Numbers in words, at the values where the words change."""

from __future__ import annotations

import pytest

from convscope.formatting import (
    binary_size,
    decimal_size,
    decimals,
    duration,
    listed,
    measured_duration,
    p_value,
    percent,
    plural,
    probability,
)
from convscope.report import run_files


@pytest.mark.parametrize(
    ("p", "said"),
    [
        (0.0, "<0.1%"), (0.00099, "<0.1%"), (0.001, "0.1%"), (0.5, "50.0%"), (0.999, "99.9%"),
        (0.99901, ">99.9%"), (1.0, ">99.9%"),
    ],
)  # fmt: skip
def test_a_probability_is_never_certain_or_impossible(p, said):
    assert probability(p) == said
    assert run_files.probability(p) == said.replace("%", "\u202f%")


def test_p_is_never_said_to_be_zero():
    assert [p_value(p, "p") for p in (0.0, 0.0009, 0.001, 1.0)] == [
        *("p < 0.001", "p < 0.001", "p = 0.001", "p = 1.000"),
    ]
    assert [p_value(p) for p in (0.0, 0.0009, 0.001, 1.0)] == ["<0.001", "<0.001", "0.001", "1.000"]


def test_what_is_not_there_is_a_dash():
    assert (percent(None), decimals(None), run_files.percent(None)) == ("-", "-", "–")
    assert (percent(0.0), decimals(0.0), run_files.percent(0.0)) == (
        "0.00%",
        "0.0000",
        "0.00\u202f%",
    )
    assert (percent(1, 0), run_files.percent(1, 1)) == ("100%", "100.0\u202f%")


@pytest.mark.parametrize(
    ("seconds", "said", "measured"),
    [
        (0, "0 s", "0.0 s"), (0.0312, "0.031 s", "0.0 s"), (9.94, "9.9 s", "9.9 s"),
        (9.95, "10 s", "9.9 s"), (42.3, "42 s", "42.3 s"), (59.4, "59 s", "59.4 s"),
        (59.6, "1 min", "59.6 s"), (60, "1 min", "1 min 00 s"), (65, "1 min 5 s", "1 min 05 s"),
        (3599, "59 min 59 s", "59 min 59 s"), (3599.6, "1 h", "1 h 00 min"),
        (3900, "1 h 5 min", "1 h 05 min"), (90_000, "25 h", "25 h 00 min"),
    ],
)  # fmt: skip
def test_durations(seconds, said, measured):
    assert (duration(seconds), measured_duration(seconds)) == (said, measured)
    parts = measured.replace("h ", "h|").replace("min ", "min|").replace(" ", "\u202f")
    assert run_files.duration(seconds) == parts.replace("|", " ")


@pytest.mark.parametrize(
    ("size", "binary", "decimal"),
    [
        (0, "0", "0 MB"), (1, "1 B", "0 MB"), (1023, "1,023 B", "0 MB"),
        (1024, "1.0 KiB", "0 MB"), (2**20 - 1, "1,024.0 KiB", "1 MB"), (2**20, "1.0 MiB", "1 MB"),
        (999_000_000, "952.7 MiB", "999 MB"), (10**9, "953.7 MiB", "1.00 GB"),
        (2**30, "1.0 GiB", "1.07 GB"), (5 * 2**40, "5,120.0 GiB", "5497.56 GB"),
    ],
)  # fmt: skip
def test_sizes(size, binary, decimal):
    assert (binary_size(size), decimal_size(size)) == (binary, decimal)


def test_other_digits():
    assert (binary_size(170_498_071, 0), percent(0.12345, 1)) == ("163 MiB", "12.3%")
    assert decimals(1.25, 1) == "1.2"


def test_plurals():
    said = [plural(count, "test image") for count in (0, 1, 2, 1000)]
    assert said == ["0 test images", "1 test image", "2 test images", "1,000 test images"]
    assert [plural(count, "class", "classes") for count in (1, 2)] == ["1 class", "2 classes"]


def test_a_long_list_is_cut():
    assert listed(["a", "b"]) == "a, b"
    assert listed([str(n) for n in range(1006)]) == "0, 1, 2, 3, 4 and 1,001 more"
