"""What a step consists of."""

import pytest

from server.engine.cells import Cells
from server.engine.scheduler import (
    BEGINNING_TOKENS,
    HEADROOM_TOKENS,
    MIN_COMING_TOKENS,
    Scheduler,
    shift_for,
)
from server.engine.sequence import Sequence
from server.engine.slots import Slots
from server.engine.types import Request
from server.engine.waiting import QueueFull

BUDGET = 16


def make(slots: int = 4, batch: int = 64, queue: int = 8, cells: int | None = None) -> Scheduler:
    books = None if cells is None else Cells(cells, slots)
    return Scheduler(Slots(slots, cells=books), parallel=slots, batch=batch, queue=queue)


def submit(
    scheduler: Scheduler, number: int, prompt: int | list[int], **request: object
) -> Sequence:
    tokens = [number * 1000 + i for i in range(prompt)] if isinstance(prompt, int) else prompt
    sequence = Sequence(
        number,
        Request(tokens=tokens, **request),  # type: ignore[arg-type]
        limit=2048,
        submitted_ns=number,
    )
    scheduler.submit(sequence)
    return sequence


def admit(scheduler: Scheduler) -> Sequence | None:
    """Admit one as the loop does."""
    admission = scheduler.next()
    if admission is None:
        return None
    scheduler.start(admission, admission.placement.keep)
    return admission.sequence


def admit_all(scheduler: Scheduler) -> list[int]:
    return [s.id for s in iter(lambda: admit(scheduler), None)]


def finish_prompt(scheduler: Scheduler, sequence: Sequence) -> None:
    scheduler.commit(sequence, sequence.num_pending)
    sequence.first_ns = 1
    sequence.append(7)
    scheduler.check_integrity()


def sizes(scheduler: Scheduler, prompt_rows: int = BUDGET) -> dict[int, int]:
    return {c.sequence.id: c.num_rows for c in scheduler.schedule(prompt_rows)}


def test_prompts_share_the_rows_of_a_step_in_the_order_of_admission() -> None:
    scheduler = make(batch=64)
    submit(scheduler, 1, 50)
    submit(scheduler, 2, 50)
    admit_all(scheduler)
    assert sizes(scheduler, 1000) == {1: 50, 2: 14}


def test_requests_that_come_before_the_first_of_them_streams_begin_together() -> None:
    scheduler = make()
    first, second = submit(scheduler, 1, 5), submit(scheduler, 2, 5)
    admit_all(scheduler)
    finish_prompt(scheduler, first)
    first.first_ns = 2
    assert scheduler.begin_together
    second.submitted_ns = 3
    assert not scheduler.begin_together


def test_a_stream_that_runs_for_a_while_does_not_begin_together_with_others() -> None:
    scheduler = make()
    first = submit(scheduler, 1, 5)
    submit(scheduler, 2, 5)
    admit_all(scheduler)
    finish_prompt(scheduler, first)
    first.first_ns = 2
    for _ in range(BEGINNING_TOKENS - 2):
        first.append(7)
        scheduler.commit(first, 1)
    assert scheduler.begin_together
    first.append(7)
    scheduler.commit(first, 1)
    assert not scheduler.begin_together


def test_running_streams_come_first_and_prompts_share_the_budget() -> None:
    scheduler = make()
    running = submit(scheduler, 1, 5)
    admit_all(scheduler)
    finish_prompt(scheduler, running)
    submit(scheduler, 2, 10)
    submit(scheduler, 3, 10)
    admit_all(scheduler)
    assert sizes(scheduler) == {1: 1, 2: 10, 3: 6}


def test_a_short_prompt_does_not_wait_for_a_long_one_nor_the_other_way_round() -> None:
    scheduler = make()
    long, short = submit(scheduler, 1, 200), submit(scheduler, 2, 20)
    admit_all(scheduler)
    assert sizes(scheduler) == {1: 8, 2: 8}
    scheduler.commit(long, 8)
    scheduler.commit(short, 8)
    assert sizes(scheduler) == {1: 8, 2: 8}
    scheduler.commit(short, 8)
    assert sizes(scheduler) == {1: 12, 2: 4}, "what one does not need is the other's"


def test_the_shortest_comes_before_others_that_were_admitted_later() -> None:
    scheduler = make()
    for number, length in ((1, 100), (2, 90), (3, 6)):
        submit(scheduler, number, length)
    admit_all(scheduler)
    assert sizes(scheduler) == {1: 8, 2: 2, 3: 6}


def test_a_step_never_exceeds_the_batch() -> None:
    scheduler = make(slots=4, batch=4)
    for number in (1, 2, 3):
        sequence = submit(scheduler, number, 2)
        admit_all(scheduler)
        finish_prompt(scheduler, sequence)
    submit(scheduler, 4, 50)
    admit_all(scheduler)
    assert sum(sizes(scheduler).values()) == 4


def test_chunks_are_ordered_by_slot() -> None:
    scheduler = make()
    submit(scheduler, 1, 3)
    running = submit(scheduler, 2, 3)
    admit_all(scheduler)
    finish_prompt(scheduler, running)
    chunks = scheduler.schedule(BUDGET)
    assert [c.sequence.slot for c in chunks] == [0, 1]
    assert [c.sequence.id for c in chunks] == [1, 2]


def test_only_the_chunk_that_ends_a_prompt_is_sampled() -> None:
    scheduler = make(batch=8)
    sequence = submit(scheduler, 1, 12)
    admit_all(scheduler)
    first = scheduler.schedule(BUDGET)
    scheduler.commit(sequence, 8)
    second = scheduler.schedule(BUDGET)
    assert [c.is_last for c in first] == [False]
    assert [c.is_last for c in second] == [True]
    assert (second[0].start, second[0].stop) == (8, 12)
    assert sequence.num_computed == 8


def test_requests_wait_for_a_slot_in_the_order_of_their_arrival() -> None:
    scheduler = make(slots=1)
    for number in (1, 2, 3):
        submit(scheduler, number, 3)
    order = []
    while (sequence := admit(scheduler)) is not None:
        order.append(sequence.id)
        scheduler.remove(sequence.id)
    assert order == [1, 2, 3]
    assert scheduler.is_idle


@pytest.mark.parametrize("queue", [0, 2])
def test_the_queue_is_bounded_behind_what_free_slots_take(queue: int) -> None:
    scheduler = make(slots=1, queue=queue)
    for number in range(1 + queue):
        submit(scheduler, number, 1)
    with pytest.raises(QueueFull):
        submit(scheduler, 7, 1)
    admit(scheduler)
    with pytest.raises(QueueFull):
        submit(scheduler, 8, 1)


def test_a_stream_that_must_be_computed_again_is_read_in_chunks() -> None:
    scheduler = make(batch=8)
    again, other = submit(scheduler, 1, 20), submit(scheduler, 2, 3)
    admit_all(scheduler)
    finish_prompt(scheduler, again)
    finish_prompt(scheduler, other)
    again.num_computed = 0
    assert sizes(scheduler, 4) == {1: 4, 2: 1}


def test_removing_finds_waiting_and_running_and_ignores_strangers() -> None:
    scheduler = make(slots=1)
    running, waiting = submit(scheduler, 1, 3), submit(scheduler, 2, 3)
    admit_all(scheduler)
    assert scheduler.remove(99) is None
    assert scheduler.remove(2) is waiting
    assert scheduler.remove(1) is running
    assert scheduler.is_idle
    scheduler.check_integrity()


@pytest.mark.parametrize(
    ("limit", "num_keep", "expected"),
    [(100, 0, (0, 50)), (100, 4, (4, 48)), (100, 1000, (98, 1)), (4, -5, (0, 2)), (2, 1, (0, 1))],
)
def test_a_shift_drops_half_of_what_is_not_kept(
    limit: int, num_keep: int, expected: tuple[int, int]
) -> None:
    request = Request(tokens=[1], num_keep=num_keep)
    sequence = Sequence(1, request, limit=limit, submitted_ns=0)
    assert shift_for(sequence) == expected


def test_who_begins_like_a_prompt_that_is_being_read_waits_and_copies_it() -> None:
    scheduler = make(slots=3)
    common = list(range(MIN_COMING_TOKENS + 20))
    leader = submit(scheduler, 1, [*common, 91])
    submit(scheduler, 2, [*common, 92])
    submit(scheduler, 3, 5)
    submit(scheduler, 4, [*common, 94])
    submit(scheduler, 5, 5)
    assert admit_all(scheduler) == [1, 3], "one slot is kept for those who wait for a copy"
    scheduler.commit(leader, 20)
    assert admit_all(scheduler) == []
    scheduler.commit(leader, len(common) - 20)
    admission = scheduler.next()
    assert admission is not None
    assert (admission.sequence.id, admission.placement.keep) == (2, len(common))


def test_when_the_leader_goes_its_followers_start_themselves() -> None:
    scheduler = make(slots=3)
    common = list(range(MIN_COMING_TOKENS + 10))
    for number in (1, 2, 3):
        submit(scheduler, number, [*common, 90 + number])
    assert admit_all(scheduler) == [1]
    scheduler.remove(1)
    assert admit_all(scheduler) == [2], "and the next one leads"
    scheduler.check_integrity()


def test_a_short_common_beginning_is_not_waited_for() -> None:
    scheduler = make(slots=2)
    common = list(range(MIN_COMING_TOKENS - 1))
    for number in (1, 2):
        submit(scheduler, number, [*common, 90 + number])
    assert admit_all(scheduler) == [1, 2]


def test_owners_take_turns() -> None:
    scheduler = make(slots=2)
    for number in (1, 2, 3, 4):
        submit(scheduler, number, 3, owner="much")
    submit(scheduler, 5, 3, owner="little")
    assert admit_all(scheduler) == [1, 5]
    scheduler.remove(1)
    submit(scheduler, 6, 3, owner="little")
    assert admit_all(scheduler) == [2], "it has one running, the other one none"


def test_a_full_queue_makes_room_for_who_has_little_in_it() -> None:
    scheduler = make(slots=1, queue=2)
    for number in (1, 2, 3):
        submit(scheduler, number, 3, owner="much")
    newcomer = Sequence(4, Request(tokens=[1], owner="little"), limit=10, submitted_ns=4)
    displaced = scheduler.submit(newcomer)
    assert displaced is not None and displaced.id == 3, "the newest of the other one"
    with pytest.raises(QueueFull):
        submit(scheduler, 5, 3, owner="much")
    assert admit_all(scheduler) == [1]
    scheduler.remove(1)
    assert admit_all(scheduler) == [4]


def test_who_does_not_fit_waits_for_cells() -> None:
    scheduler = make(slots=2, cells=100)
    submit(scheduler, 1, 50)
    submit(scheduler, 2, 50)
    assert admit_all(scheduler) == [1]
    scheduler.remove(1)
    assert admit_all(scheduler) == [2]


def test_a_shared_beginning_counts_once() -> None:
    common = list(range(60))
    scheduler = make(slots=2, cells=60 + 2 + 1 + 2 * HEADROOM_TOKENS)
    finish_prompt(scheduler, submit_and_admit(scheduler, 1, [*common, 91]))
    submit(scheduler, 2, [*common, 92])
    assert admit_all(scheduler) == [2]


def submit_and_admit(scheduler: Scheduler, number: int, tokens: list[int]) -> Sequence:
    sequence = submit(scheduler, number, tokens)
    admit(scheduler)
    return sequence


def test_the_youngest_is_preempted_and_comes_back_before_the_others() -> None:
    scheduler = make(slots=2, cells=100)
    old = submit_and_admit(scheduler, 1, [*range(30)])
    young = submit_and_admit(scheduler, 2, [*range(100, 130)])
    finish_prompt(scheduler, old)
    finish_prompt(scheduler, young)
    submit(scheduler, 3, 3)
    assert scheduler.preempt() == 1
    assert scheduler.preempt() is None, "the last one stays"
    scheduler.check_integrity()
    assert (young.slot, young.num_computed, len(young.tokens)) == (-1, 0, 31)
    scheduler.remove(1)
    assert admit_all(scheduler) == [2, 3]
    assert young.num_computed == 30, "its prefix was still there"


def test_cells_that_a_step_lacks_are_counted() -> None:
    scheduler = make(slots=1, cells=100)
    sequence = submit_and_admit(scheduler, 1, [*range(40)])
    sequence.tokens.extend(range(80))
    assert scheduler.num_missing_cells(scheduler.schedule(500)) == 0, "the batch bounds a step"
    scheduler.commit(sequence, 64)
    assert scheduler.num_missing_cells(scheduler.schedule(500)) == 20
