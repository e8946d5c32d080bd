"""Sizes and durations: which texts are accepted, which are rejected, and how values are shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etcdup.core.spec.units import WrongValue, parse_duration, parse_size, show_duration, show_size
from tests.support.texts import Texts

MIB, GIB = 1024**2, 1024**3


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("2GiB", 2 * GIB),
        ("2GB", 2 * GIB),
        ("2G", 2 * GIB),
        ("2 gib", 2 * GIB),
        (" 512MiB ", 512 * MIB),
        ("1.5GiB", 3 * GIB // 2),
        ("1TiB", 1024 * GIB),
        ("64K", 65_536),
        ("100B", 100),
        ("8589934592", 8 * GIB),
        (8 * GIB, 8 * GIB),
        (0, 0),
    ],
)
def test_sizes(written: object, size: int) -> None:
    assert parse_size(written) == size


@pytest.mark.parametrize(
    "written", ["", "GiB", "2 gigs", "-1", -1, "2,5GiB", "1e9", "٢GiB", True, None, 2.5, [2], "9" * 400]
)
def test_wrong_sizes_are_rejected(texts: Texts, written: object) -> None:
    with pytest.raises(WrongValue) as caught:
        parse_size(written)
    texts(caught.value)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("30s", 30),
        ("8h", 28_800),
        ("1h30m", 5_400),
        ("1h 30m", 5_400),
        ("7d", 604_800),
        ("2w", 1_209_600),
        ("0s", 0),
        (" 1m ", 60),
        (90, 90),
    ],
)
def test_durations(written: object, seconds: int) -> None:
    assert parse_duration(written) == seconds


@pytest.mark.parametrize(
    "written",
    ["", "h", "8 hours", "hourly", "1.5h", "-1h", -1, "8", "1h,5m", True, None, 1.5, "9" * 400 + "s"],
)
def test_wrong_durations_are_rejected(texts: Texts, written: object) -> None:
    with pytest.raises(WrongValue) as caught:
        parse_duration(written)
    texts(caught.value)


def test_a_duration_has_no_milliseconds(texts: Texts) -> None:
    with pytest.raises(WrongValue) as caught:
        parse_duration("1s500ms")
    texts(caught.value)


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (20 * MIB, "20.0 MiB"),
        (2 * GIB, "2.0 GiB"),
        (5000 * GIB, "4.9 TiB"),
    ],
)
def test_sizes_shown(size: int, shown: str) -> None:
    assert show_size(size) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 ms"),
        (0.85, "850 ms"),
        (1, "1.0 s"),
        (4.21, "4.2 s"),
        (59.9, "59.9 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (86_399, "23 h"),
        (86_400 * 12.5, "12 d"),
    ],
)
def test_durations_shown(seconds: float, shown: str) -> None:
    assert show_duration(seconds) == shown


@given(st.integers(0, 999), st.sampled_from("smhdw"))
def test_a_duration_is_a_multiple_of_its_unit(number: int, unit: str) -> None:
    assert parse_duration(f"{number}{unit}") == number * parse_duration(f"1{unit}")


@given(st.text(max_size=20))
def test_any_text_gives_a_number_or_an_error_with_the_text(text: str) -> None:
    for parse in (parse_size, parse_duration):
        try:
            result = f"{text}: {parse(text)}"
        except WrongValue as error:
            result = str(error)
        assert text in result
