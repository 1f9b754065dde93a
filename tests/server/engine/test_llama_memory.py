"""What the engine does with llama.cpp's memory: shared, forked, parked, preempted, rewound.

Greedy texts are compared. Kernels differ with the number of rows in a batch, so what is
compared was computed in batches of the same kind, or only its beginning.
"""

from pathlib import Path

import pytest

from server.engine.config import Attention
from server.engine.types import Sampling
from server.models.name import ModelName
from server.models.store import Store
from tests.server.engine.real import RealEngine
from tests.support.tiny_gemma import write_tiny_gemma

GREEDY = Sampling(temperature=0)
ENDLESS = Sampling(temperature=0, ignore_eos=True)
STORY = (
    "The old lighthouse keeper wrote in his diary every evening. On Monday he counted nine "
    "ships, on Tuesday only three, and on Wednesday a storm came up from the west. "
) * 3
QUESTION = "<|im_start|>user\nWhat is the capital of {}?<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="session")
def weights(embedded_store: Path) -> Path:
    path, _ = Store(embedded_store).get(ModelName.parse("smollm2:135m")).check()
    return path


@pytest.mark.parametrize("pool", [0, 900])
def test_requests_that_start_with_a_copy_go_on_with_their_own(weights: Path, pool: int) -> None:
    engine = RealEngine(weights, context=512, parallel=3, pool=pool)
    system = f"<|im_start|>system\nYou are helpful. {STORY}<|im_end|>\n"
    countries = ("France", "Italy", "Japan")
    texts = engine.say(
        *(system + QUESTION.format(country) for country in countries),
        sampling=GREEDY,
        max_tokens=12,
    )
    for text, capital in zip(texts, ("Paris", "Rome", "Tokyo"), strict=True):
        assert capital in text
    cached = [engine.finished[n].cached_tokens for n in (1, 2, 3)]
    assert cached[0] == 0 and min(cached[1:]) > 100


def test_a_parked_conversation_is_restored_as_it_was(weights: Path) -> None:
    engine = RealEngine(weights, context=512, parallel=1, parking_bytes=1 << 26)
    first = engine.say(STORY, sampling=ENDLESS, max_tokens=12)
    assert engine.say(QUESTION.format("France"), sampling=GREEDY)[0].count("Paris") == 1
    assert engine.stats.num_parked == 1 and engine.stats.parked_bytes > 1 << 20
    assert engine.say(STORY, sampling=ENDLESS, max_tokens=12) == first
    assert engine.stats.num_restored == 1
    assert engine.finished[3].cached_tokens > 100


def test_a_copy_that_was_not_made_yet_is_never_parked(weights: Path) -> None:
    engine = RealEngine(weights, context=512, parallel=2, parking_bytes=1 << 26)
    # The first stays cached; the second starts with a copy of it and is gone at once.
    engine.say(STORY + " " + STORY, sampling=ENDLESS, max_tokens=1)
    engine.backend.fork(0, 1, 10)
    assert engine.backend.save(1) is None
    assert engine.backend.save(0) is not None
    assert not engine.backend.restore(0, b"")
    engine.backend.trim(1, 0)


@pytest.mark.parametrize("parking_bytes", [0, 1 << 26])
def test_preempted_requests_end_with_the_text_they_would_have_had(
    weights: Path, parking_bytes: int
) -> None:
    engine = RealEngine(weights, context=256, parallel=3, pool=300, parking_bytes=parking_bytes)
    countries = ("France", "Italy", "Japan")
    texts = engine.say(
        *(QUESTION.format(country) for country in countries), sampling=ENDLESS, max_tokens=120
    )
    assert engine.stats.num_preempted > 0
    for text, capital in zip(texts, ("Paris", "Rome", "Tokyo"), strict=True):
        assert capital in text
    assert [engine.finished[n].output_tokens for n in (1, 2, 3)] == [120] * 3
    assert engine.stats.output_tokens == 360


def test_guessing_does_not_change_what_is_said_and_saves_steps(weights: Path) -> None:
    prompt = "one two three four five six seven. " * 8
    said, steps = {}, {}
    for mode in ("off", "on"):
        engine = RealEngine(weights, context=512, parallel=1, speculate=mode)
        said[mode] = engine.say(prompt, sampling=ENDLESS, max_tokens=60)
        steps[mode] = engine.stats.num_steps
    assert said["on"] == said["off"]
    assert steps["on"] < steps["off"] / 2
    assert engine.stats.accepted_tokens > 30


def test_guessing_draws_what_the_seed_draws(weights: Path) -> None:
    sampling = Sampling(temperature=0.7, seed=3, ignore_eos=True)
    prompt = "red green blue. " * 10
    said = [
        RealEngine(weights, context=512, parallel=1, speculate=mode).say(
            prompt, sampling=sampling, max_tokens=40
        )
        for mode in ("off", "on")
    ]
    assert said[0] == said[1]


def test_shared_memory_shifts_a_window_that_is_its_own(weights: Path) -> None:
    engine = RealEngine(weights, context=128, parallel=2, pool=200)
    engine.say(QUESTION.format("Spain"), sampling=ENDLESS, max_tokens=200)
    assert engine.finished[1].output_tokens == 200
    assert engine.finished[1].shifted_tokens > 0


@pytest.fixture
def gemma(tmp_path: Path) -> Path:
    return write_tiny_gemma(tmp_path / "gemma.gguf")


def text_of(start: int, length: int) -> str:
    return "".join(chr(97 + (start + i * i * 7 + i // 13) % 26) for i in range(length))


@pytest.mark.parametrize("pool", [0, 1500])
@pytest.mark.parametrize("swa_full", [False, True])
def test_a_prefix_whose_window_is_gone_is_computed_again(
    gemma: Path, pool: int, swa_full: bool
) -> None:
    settings = {
        "context": 1024,
        "micro_batch": 32,
        "batch": 64,
        "attention": Attention(swa_full=swa_full),
    }
    long, other = text_of(1, 700), text_of(1, 300) + text_of(5, 200)
    expected = RealEngine(gemma, parallel=1, **settings).say(other, sampling=ENDLESS, max_tokens=30)
    engine = RealEngine(gemma, parallel=2, pool=pool, **settings)
    engine.say(long, sampling=ENDLESS, max_tokens=1)
    assert engine.say(other, sampling=ENDLESS, max_tokens=30) == expected
    assert (engine.finished[2].cached_tokens > 290) == swa_full


def test_a_conversation_of_a_sliding_window_goes_on_where_it_ended(gemma: Path) -> None:
    engine = RealEngine(gemma, context=1024, parallel=1, micro_batch=32, batch=64)
    talk = text_of(1, 600)
    [said] = engine.say(talk, sampling=ENDLESS, max_tokens=20)
    longer = f"{talk}{said}"
    [more] = engine.say(f"{longer}{text_of(3, 40)}", sampling=ENDLESS, max_tokens=20)
    assert engine.finished[2].cached_tokens >= 600
    fresh = RealEngine(gemma, context=1024, parallel=1, micro_batch=32, batch=64)
    assert fresh.say(f"{longer}{text_of(3, 40)}", sampling=ENDLESS, max_tokens=20) == [more]


def test_guessing_is_off_where_nothing_can_be_taken_back(gemma: Path) -> None:
    engine = RealEngine(gemma, context=512, parallel=1, speculate="on")
    engine.say("abcabcabcabc" * 5, sampling=ENDLESS, max_tokens=40)
    assert engine.stats.drafted_tokens == 0
