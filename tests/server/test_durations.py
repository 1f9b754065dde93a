"""Go durations and lifetimes."""

import pytest

from server.durations import FOREVER, lifetime, parse_go_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("300ms", 0.3),
        ("5m", 300),
        ("1h30m", 5400),
        ("1.5h", 5400),
        (".5s", 0.5),
        ("+1s", 1),
        ("-1m", -60),
        ("2us", 2e-6),
        ("2µs", 2e-6),
        ("1h2m3s", 3723),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_go_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", 'time: invalid duration ""'),
        ("300", 'time: missing unit in duration "300"'),
        ("-", 'time: invalid duration "-"'),
        ("s", 'time: invalid duration "s"'),
        ("1x", 'time: unknown unit "x" in duration "1x"'),
        ("1h2", 'time: missing unit in duration "1h2"'),
        (".s", 'time: invalid duration ".s"'),
        ("١s", 'time: invalid duration "١s"'),
    ],
)
def test_what_is_none(text: str, error: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_go_duration(text)
    assert str(caught.value) == error


def test_lifetimes() -> None:
    assert lifetime(-0.1) == lifetime("-1ns") == lifetime(1e300) == FOREVER
    assert lifetime(0) == 0 and lifetime("1.5s") == 1.5
