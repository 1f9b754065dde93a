"""What a step consists of."""

import pytest

from server.engine.scheduler import QueueFull, Scheduler, shift_for
from server.engine.sequence import Sequence
from server.engine.types import Request


def make(slots: int = 4, batch: int = 64, prompt_budget: int = 16, queue: int = 8) -> Scheduler:
    return Scheduler(slots=slots, batch=batch, prompt_budget=prompt_budget, queue=queue)


def submit(scheduler: Scheduler, number: int, prompt: int, **request: object) -> Sequence:
    tokens = [number * 1000 + i for i in range(prompt)]
    sequence = Sequence(
        number,
        Request(tokens=tokens, **request),  # type: ignore[arg-type]
        limit=2048,
        submitted_ns=0,
    )
    scheduler.submit(sequence)
    return sequence


def admit_all(scheduler: Scheduler) -> None:
    while scheduler.admit():
        pass


def finish_prompt(scheduler: Scheduler, sequence: Sequence) -> None:
    sequence.num_computed = sequence.num_prompt
    sequence.first_ns = 1
    sequence.append(7)
    scheduler.check_integrity()


def sizes(scheduler: Scheduler) -> dict[int, int]:
    return {c.sequence.id: c.stop - c.start for c in scheduler.schedule()}


def test_an_idle_engine_reads_prompts_as_fast_as_the_batch_allows() -> None:
    scheduler = make(batch=64)
    submit(scheduler, 1, 50)
    submit(scheduler, 2, 50)
    admit_all(scheduler)
    assert sizes(scheduler) == {1: 50, 2: 14}


def test_running_streams_come_first_and_prompts_share_the_budget() -> None:
    scheduler = make(prompt_budget=16)
    running = submit(scheduler, 1, 5)
    admit_all(scheduler)
    finish_prompt(scheduler, running)
    submit(scheduler, 2, 10)
    submit(scheduler, 3, 10)
    admit_all(scheduler)
    assert sizes(scheduler) == {1: 1, 2: 10, 3: 6}


def test_a_step_never_exceeds_the_batch() -> None:
    scheduler = make(slots=4, batch=4, prompt_budget=4)
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
    chunks = scheduler.schedule()
    assert [c.sequence.slot for c in chunks] == [0, 1]
    assert [c.sequence.id for c in chunks] == [1, 2]


def test_only_the_chunk_that_ends_a_prompt_is_sampled() -> None:
    scheduler = make(batch=8, prompt_budget=8)
    sequence = submit(scheduler, 1, 12)
    admit_all(scheduler)
    first = scheduler.schedule()
    scheduler.commit(first)
    second = scheduler.schedule()
    assert [c.is_last for c in first] == [False]
    assert [c.is_last for c in second] == [True]
    assert (second[0].start, second[0].stop) == (8, 12)
    assert sequence.num_computed == 8


def test_requests_wait_for_a_slot_in_the_order_of_their_arrival() -> None:
    scheduler = make(slots=1)
    for number in (1, 2, 3):
        submit(scheduler, number, 3)
    order = []
    while (admission := scheduler.admit()) is not None:
        order.append(admission.sequence.id)
        scheduler.remove(admission.sequence.id)
    assert order == [1, 2, 3]
    assert scheduler.is_idle


@pytest.mark.parametrize("queue", [0, 2])
def test_the_queue_is_bounded_behind_what_free_slots_take(queue: int) -> None:
    scheduler = make(slots=1, queue=queue)
    for number in range(1 + queue):
        submit(scheduler, number, 1)
    with pytest.raises(QueueFull):
        submit(scheduler, 7, 1)
    scheduler.admit()
    with pytest.raises(QueueFull):
        submit(scheduler, 8, 1)


def test_a_stream_that_must_be_computed_again_is_read_in_chunks() -> None:
    scheduler = make(batch=8, prompt_budget=4)
    again, other = submit(scheduler, 1, 20), submit(scheduler, 2, 3)
    admit_all(scheduler)
    finish_prompt(scheduler, again)
    finish_prompt(scheduler, other)
    again.num_computed = 0
    assert sizes(scheduler) == {1: 4, 2: 1}


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
