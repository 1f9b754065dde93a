"""Each goal has tests, and the report tells what they showed."""

import json
import re
from pathlib import Path

import pytest

from tests.goals import GOALS

INI = "[pytest]\nasyncio_default_fixture_loop_scope = function\n"
MARK = re.compile(r"pytest\.mark\.goal\(([\d, ]+)\)")


def test_each_goal_has_tests() -> None:
    files = set(Path(__file__).parent.rglob("test_*.py")) - {Path(__file__)}
    texts = (path.read_text("utf-8") for path in files)
    shown = {int(n) for text in texts for found in MARK.findall(text) for n in found.split(",")}
    assert shown == set(GOALS)


def test_the_report_counts_tests_and_holds_figures_against_their_bars(
    pytester: pytest.Pytester,
) -> None:
    pytester.makeini(INI)
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.goal(2, 3)
        @pytest.mark.parametrize("took_ms", [40, 310])
        def test_stop(took_ms, measured):
            measured(2, "slot free", took_ms, "ms", 300)

        @pytest.mark.goal(3)
        def test_that_fails(measured):
            measured(3, "requests", 0, "", 0)
            assert False

        @pytest.fixture
        def broken():
            yield
            assert False

        @pytest.mark.goal(5)
        def test_whose_end_fails(broken):
            pass

        @pytest.mark.goal(4)
        @pytest.mark.skip("not here")
        def test_left_out():
            pass
        """
    )
    result = pytester.runpytest_inprocess("-p", "tests.goals")
    result.assert_outcomes(passed=3, failed=1, skipped=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "2. *: 2 passed",
            "   - slot free: 310 ms, the worst of 2 (misses 300)",
            "   - VS Code*not run here",
            "3. *: 1 failed, 2 passed",
            "   - requests: 0 (meets 0)",
            "4. *: 1 skipped",
            "5. *: 1 failed",
        ]
    )
    written = json.loads((pytester.path / "build" / "goals.json").read_text("utf-8"))
    assert [goal["goal"] for goal in written] == list(GOALS)
    assert written[1]["figures"][0]["value"] == 310 and not written[1]["figures"][0]["is_met"]
    first, second, *_ = (pytester.path / "build" / "goals.md").read_text("utf-8").splitlines()[2:]
    assert first.endswith(": not run") and second.endswith(": 2 passed")


def test_a_goal_that_there_is_none_of_is_refused(pytester: pytest.Pytester) -> None:
    pytester.makeini(INI)
    pytester.makepyfile("import pytest\n\n@pytest.mark.goal(11)\ndef test(): pass\n")
    assert pytester.runpytest_inprocess("-p", "tests.goals").ret == pytest.ExitCode.USAGE_ERROR
