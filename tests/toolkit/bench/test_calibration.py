"""What the client itself costs: measured and printed, not asserted."""

import pytest

from tests.goals import Measure
from toolkit.bench.calibration import calibrate
from toolkit.errors import UsageError


@pytest.mark.goal(7)
@pytest.mark.alone
async def test_two_hundred_streams_are_read_whole_and_the_cost_is_told(measured: Measure) -> None:
    found = await calibrate(200, tokens=20)
    assert found.chunks == 200 * 20 and found.streams == 200
    # The clock is one: nothing is noted before it was sent.
    assert 0 < found.late_p50_ms <= found.late_p99_ms and found.cpu_us_per_chunk > 0
    cost = "CPU of the client a chunk at 200 streams"
    measured(7, cost, found.cpu_us_per_chunk / 1e3, "ms", 1)
    measured(7, "a chunk is noted after it was sent, 200 streams, p50", found.late_p50_ms)


@pytest.mark.parametrize("given", [{"streams": 0}, {"tokens": 1}, {"interval_s": 0.0}])
async def test_what_cannot_be_meant_is_refused(given: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        await calibrate(**given)  # type: ignore[arg-type]
