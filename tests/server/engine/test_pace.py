"""How many prompt rows a step may have, from what steps have cost."""

from server.engine.pace import LONGEST_STEP_NS, MIN_PROMPT_ROWS, Pace

MS = 10**6


def measured(decode_ms: int, row_ms: float) -> Pace:
    pace = Pace(2048)
    pace.observe(4, 0, decode_ms * MS)
    pace.observe(0, 100, int(100 * row_ms * MS))
    return pace


def test_nothing_measured_is_a_moderate_step() -> None:
    assert Pace(2048).prompt_rows(0, 1) == 512
    assert Pace(64).prompt_rows(3, 1) == 64


def test_an_idle_engine_reads_as_much_as_fits_the_longest_step() -> None:
    assert measured(50, 1.0).prompt_rows(0, 1) == 2048
    assert measured(50, 100.0).prompt_rows(0, 1) == LONGEST_STEP_NS // (100 * MS)


def test_beside_streams_prompts_take_four_times_the_time_of_a_decode() -> None:
    assert measured(100, 1.0).prompt_rows(4, 1) == 400
    assert measured(80, 0.5).prompt_rows(4, 1) == 640


def test_beside_fast_streams_prompts_take_a_quarter_of_a_second() -> None:
    assert measured(6, 1.0).prompt_rows(4, 1) == 250
    assert measured(10, 0.2).prompt_rows(4, 1) == 1250


def test_prompts_that_came_together_with_the_streams_take_longer() -> None:
    assert measured(6, 1.0).prompt_rows(4, 1, begin_together=True) == 1500
    assert measured(600, 2.0).prompt_rows(4, 1, begin_together=True) == 1200


def test_many_that_wait_for_their_first_token_weigh_more_than_few_that_run() -> None:
    assert measured(100, 1.0).prompt_rows(4, 12) == 1200
    assert measured(100, 1.0).prompt_rows(4, 2) == 400


def test_a_prompt_is_never_starved() -> None:
    assert measured(1, 50.0).prompt_rows(4, 1) == MIN_PROMPT_ROWS


def test_the_cost_of_a_prompt_row_is_without_that_of_the_streams_beside_it() -> None:
    pace = Pace(2048)
    pace.observe(4, 0, 100 * MS)
    pace.observe(4, 100, 200 * MS)
    assert pace.prompt_rows(4, 1) == 400


def test_costs_follow_the_machine() -> None:
    pace = measured(100, 1.0)
    for _ in range(50):
        pace.observe(4, 0, 200 * MS)
    assert 790 <= pace.prompt_rows(4, 1) <= 800


def test_a_step_that_was_not_measured_costs_as_its_neighbour_or_more() -> None:
    pace = Pace(64)
    assert pace.decode_ns(3) is None
    pace.observe(2, 0, 10)
    pace.observe(8, 0, 30)
    assert (pace.decode_ns(1), pace.decode_ns(3)) == (10, 15)
    assert (pace.decode_ns(7), pace.decode_ns(16)) == (30, 60)
    assert pace.has_measured(8) and not pace.has_measured(7)
