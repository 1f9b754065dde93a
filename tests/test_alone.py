"""A test that is alone has the machine, whatever two workers do."""

import json

import pytest

INI = "[pytest]\nasyncio_default_fixture_loop_scope = function\n"
NOTE = """
import json, os, time
import pytest

def note(name):
    began = time.monotonic()
    time.sleep(0.05)
    with open(os.environ["NOTES"], "a") as file:
        file.write(json.dumps([name, began, time.monotonic()]) + "\\n")
"""
USUAL = "".join(f"\ndef test_{n}(): note('usual')\n" for n in range(12))
ALONE = "".join(f"\n@pytest.mark.alone\ndef test_{n}(): note('alone')\n" for n in range(4))


def test_nothing_runs_beside_it(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = pytester.path / "notes"
    monkeypatch.setenv("NOTES", str(notes))
    pytester.makeini(INI)
    pytester.makepyfile(test_a=NOTE + USUAL, test_b=NOTE + ALONE + USUAL.replace("test_", "test_u"))
    options = ("-n", "2", "--dist", "loadfile", "-p", "tests.alone", "-p", "no:cacheprovider")
    pytester.runpytest_subprocess(*options).assert_outcomes(passed=28)
    told = [json.loads(line) for line in notes.read_text().splitlines()]
    overlaps = [
        {one[0], other[0]}
        for index, one in enumerate(told)
        for other in told[:index]
        if one[1] < other[2] and other[1] < one[2]
    ]
    assert {"usual"} in overlaps  # two workers there were
    assert all("alone" not in each for each in overlaps)
