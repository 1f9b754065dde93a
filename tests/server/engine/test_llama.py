"""The embedded model in a real runner process."""

import asyncio
import json
import math
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from server.engine.config import EngineConfig
from server.engine.supervisor import Supervisor
from server.engine.types import (
    Finish,
    FinishReason,
    Grammar,
    ModelInfo,
    Piece,
    Request,
    Sampling,
    Segment,
)
from server.errors import EngineCrashed, InvalidRequest, LoadFailed
from server.models.name import ModelName
from server.models.store import Store

GREEDY = Sampling(temperature=0)
PROMPT = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
QUESTION = PROMPT.format("What is the capital of France?")


@pytest.fixture(scope="session")
def weights(embedded_store: Path) -> Path:
    path, _ = Store(embedded_store).get(ModelName.parse("smollm2:135m")).check()
    return path


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    made = Supervisor(EngineConfig(context=512, parallel=4))
    yield made
    await made.close()


async def generate(
    supervisor: Supervisor, weights: Path, prompt: str, **request: object
) -> tuple[str, Finish, list[Piece]]:
    pieces: list[Piece] = []
    async with supervisor.use(weights) as lease:
        tokens = await lease.model.tokenize([Segment(prompt)], add_bos=True)
        async with aclosing(
            lease.model.generate(Request(tokens=tokens, **request))  # type: ignore[arg-type]
        ) as stream:
            async for event in stream:
                if isinstance(event, Finish):
                    return "".join(p.text for p in pieces), event, pieces
                assert isinstance(event, Piece)
                pieces.append(event)
    raise AssertionError("the stream ended without a finish")


async def info(supervisor: Supervisor, weights: Path) -> ModelInfo:
    async with supervisor.use(weights) as lease:
        return lease.model.info


async def test_it_answers(supervisor: Supervisor, weights: Path) -> None:
    text, finish, pieces = await generate(supervisor, weights, QUESTION, sampling=GREEDY)
    assert "Paris" in text
    assert finish.reason is FinishReason.EOS
    # The end token is generated, and has no text.
    assert finish.output_tokens == len(pieces) + 1
    assert min(finish.prompt_ns, finish.output_ns, finish.queue_ns) > 0


async def test_facts_of_the_model(supervisor: Supervisor, weights: Path) -> None:
    facts = await info(supervisor, weights)
    assert (facts.architecture, facts.context, facts.context_train) == ("llama", 512, 8192)
    assert facts.eos == "<|im_end|>"
    assert "<|im_start|>" in facts.control_tokens
    assert facts.chat_template is not None
    assert facts.can_shift


async def test_many_at_once_say_what_each_says_alone(supervisor: Supervisor, weights: Path) -> None:
    questions = ["Name a colour.", "What is 2 + 2?", "Say hello.", "Name a river.", "Name a fruit."]
    prompts = [PROMPT.format(q) for q in questions]
    alone = [
        (await generate(supervisor, weights, p, sampling=GREEDY, max_tokens=12))[0] for p in prompts
    ]
    together = await asyncio.gather(
        *(generate(supervisor, weights, p, sampling=GREEDY, max_tokens=12) for p in prompts)
    )
    # Kernels differ by batch size, so late tokens may; a mix-up would show in the first.
    assert [t[0].split()[:2] for t in together] == [a.split()[:2] for a in alone]


async def test_a_seed_reproduces_and_another_does_not(
    supervisor: Supervisor, weights: Path
) -> None:
    async def say(seed: int) -> str:
        sampling = Sampling(temperature=1.5, seed=seed)
        text, _, _ = await generate(
            supervisor, weights, PROMPT.format("Tell me a story."), sampling=sampling, max_tokens=16
        )
        return text

    await say(1)  # the first computes the prompt, the others find it cached
    assert await say(1) == await say(1)
    assert await say(1) != await say(2)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(mirostat=1, seed=1),
        Sampling(mirostat=2, seed=1),
        Sampling(top_k=20, top_p=0.9, min_p=0.05, typical_p=0.9, seed=1),
        Sampling(repeat_penalty=1.3, presence_penalty=0.5, frequency_penalty=0.5, seed=1),
        Sampling(temperature=0, repeat_penalty=1.3, repeat_last_n=-1),
        Sampling(top_n_sigma=1.0, dynatemp_range=0.5, dynatemp_exponent=1.5, seed=1),
        Sampling(xtc_probability=1.0, xtc_threshold=0.05, seed=1),
        Sampling(dry_multiplier=0.8, dry_penalty_last_n=10**9, dry_sequence_breakers=(), seed=1),
    ],
)
async def test_every_kind_of_chain_gives_text(
    supervisor: Supervisor, weights: Path, sampling: Sampling
) -> None:
    text, finish, _ = await generate(supervisor, weights, QUESTION, sampling=sampling, max_tokens=8)
    assert text.strip()
    assert 0 < finish.output_tokens <= 8


async def test_a_high_presence_penalty_forbids_every_repetition(
    supervisor: Supervisor, weights: Path
) -> None:
    bound = Sampling(temperature=0, presence_penalty=1000.0, repeat_last_n=-1, ignore_eos=True)
    _, _, pieces = await generate(supervisor, weights, QUESTION, sampling=bound, max_tokens=60)
    said = [token for piece in pieces for token in piece.tokens]
    async with supervisor.use(weights) as lease:
        prompt = await lease.model.tokenize([Segment(QUESTION)], add_bos=True)
    assert len(set(said)) == len(said) == 60
    assert not set(said) & set(prompt)


async def test_dry_breaks_a_loop(supervisor: Supervisor, weights: Path) -> None:
    prompt = "one two three four five six. " * 6 + "one two three"
    free, _, _ = await generate(supervisor, weights, prompt, sampling=GREEDY, max_tokens=3)
    dry = Sampling(temperature=0, dry_multiplier=50.0)
    broken, _, _ = await generate(supervisor, weights, prompt, sampling=dry, max_tokens=3)
    assert free == " four five six"
    assert broken != free


async def test_xtc_leaves_the_likeliest_out(supervisor: Supervisor, weights: Path) -> None:
    best, _, _ = await generate(supervisor, weights, QUESTION, sampling=GREEDY, max_tokens=1)
    # With this threshold several tokens qualify, and all of them but the last go.
    xtc = Sampling(temperature=1.0, xtc_probability=1.0, xtc_threshold=0.001, seed=1)
    other, _, _ = await generate(supervisor, weights, QUESTION, sampling=xtc, max_tokens=1)
    assert other != best


async def test_top_n_sigma_of_almost_nothing_is_greedy(
    supervisor: Supervisor, weights: Path
) -> None:
    best, _, _ = await generate(supervisor, weights, QUESTION, sampling=GREEDY, max_tokens=4)
    sigma = Sampling(temperature=1.5, top_n_sigma=0.0001, seed=5)
    same, _, _ = await generate(supervisor, weights, QUESTION, sampling=sigma, max_tokens=4)
    assert same == best


async def test_a_nucleus_of_almost_nothing_is_greedy(supervisor: Supervisor, weights: Path) -> None:
    best, _, _ = await generate(supervisor, weights, QUESTION, sampling=GREEDY, max_tokens=6)
    small = Sampling(temperature=1.5, top_p=1e-6, seed=5)
    same, _, _ = await generate(supervisor, weights, QUESTION, sampling=small, max_tokens=6)
    assert same == best


async def test_a_nucleus_holds_what_llama_cpp_s_would(
    supervisor: Supervisor, weights: Path
) -> None:
    prompt = PROMPT.format("Name a colour.")
    _, _, [first] = await generate(
        supervisor, weights, prompt, sampling=GREEDY, max_tokens=1, top_logprobs=20
    )
    likely, mass = set(), 0.0
    for token in first.logprobs[0].top:
        likely.add(token.text)
        mass += math.exp(token.logprob)
        if mass >= 0.4:
            break
    assert 1 < len(likely) < 20

    async def draw(seed: int, top_k: int) -> str:
        # With a top-k of the whole vocabulary llama.cpp does all of it.
        sampling = Sampling(temperature=2.0, top_p=0.4, top_k=top_k, seed=seed)
        return (await generate(supervisor, weights, prompt, sampling=sampling, max_tokens=1))[0]

    ours = [await draw(seed, 0) for seed in range(30)]
    theirs = [await draw(seed, 10**6) for seed in range(30)]
    assert set(ours) <= likely and set(theirs) <= likely
    assert len(set(ours)) > 1


async def test_penalties_come_before_a_nucleus(supervisor: Supervisor, weights: Path) -> None:
    bound = Sampling(top_p=0.9, presence_penalty=1000.0, repeat_last_n=-1, ignore_eos=True, seed=1)
    _, _, pieces = await generate(supervisor, weights, QUESTION, sampling=bound, max_tokens=60)
    said = [token for piece in pieces for token in piece.tokens]
    assert len(set(said)) == len(said) == 60


@pytest.mark.parametrize("top_p", [0.0, 0.5])
async def test_what_is_banned_stays_banned_in_a_nucleus(
    supervisor: Supervisor, weights: Path, top_p: float
) -> None:
    _, _, [first] = await generate(supervisor, weights, QUESTION, sampling=GREEDY, max_tokens=1)
    banned = Sampling(top_p=top_p, logit_bias=((first.tokens[0], -math.inf),), seed=1)
    _, _, [other] = await generate(supervisor, weights, QUESTION, sampling=banned, max_tokens=1)
    assert other.tokens != first.tokens


async def test_a_bias_against_all_that_a_format_allows_is_said_to_be_one(
    supervisor: Supervisor, weights: Path
) -> None:
    async with supervisor.use(weights) as lease:
        [token] = await lease.model.tokenize([Segment("7")], add_bos=False)
    sampling = Sampling(logit_bias=((token, -math.inf),), seed=1)
    with pytest.raises(InvalidRequest, match="logit_bias"):
        await generate(
            supervisor, weights, QUESTION, sampling=sampling, grammar=Grammar("regex", "7")
        )


async def test_a_bias_forces_and_forbids_a_token(supervisor: Supervisor, weights: Path) -> None:
    async with supervisor.use(weights) as lease:
        [token] = await lease.model.tokenize([Segment(" Berlin")], add_bos=False)
    forced = Sampling(temperature=0, logit_bias=((token, 1000.0),))
    text, _, _ = await generate(supervisor, weights, QUESTION, sampling=forced, max_tokens=3)
    assert text == " Berlin" * 3
    _, _, [first] = await generate(supervisor, weights, QUESTION, sampling=GREEDY, max_tokens=1)
    banned = Sampling(temperature=0, logit_bias=((first.tokens[0], -math.inf),))
    _, _, [other] = await generate(supervisor, weights, QUESTION, sampling=banned, max_tokens=1)
    assert other.tokens != first.tokens


async def test_a_bias_on_no_token_is_refused(supervisor: Supervisor, weights: Path) -> None:
    strange = Sampling(logit_bias=((10**6, 1.0),))
    with pytest.raises(InvalidRequest, match="vocabulary"):
        await generate(supervisor, weights, QUESTION, sampling=strange)


SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
async def test_a_schema_holds(supervisor: Supervisor, weights: Path, temperature: float) -> None:
    text, finish, _ = await generate(
        supervisor,
        weights,
        PROMPT.format("Describe a person as JSON."),
        grammar=Grammar("schema", json.dumps(SCHEMA)),
        sampling=Sampling(temperature=temperature, seed=7),
        max_tokens=120,
    )
    assert finish.reason is FinishReason.EOS
    person = json.loads(text)
    assert set(person) == {"name", "age"}
    assert isinstance(person["age"], int)


@pytest.mark.parametrize(
    "sampling", [Sampling(ignore_eos=True, seed=1), Sampling(ignore_eos=True, mirostat=2, seed=1)]
)
async def test_a_format_ends_where_it_ends_even_without_an_end(
    supervisor: Supervisor, weights: Path, sampling: Sampling
) -> None:
    grammar = Grammar("schema", '{"enum": ["yes"]}')
    text, finish, _ = await generate(
        supervisor, weights, QUESTION, grammar=grammar, sampling=sampling, max_tokens=20
    )
    assert (text, finish.reason) == ('"yes"', FinishReason.EOS)


async def test_looking_back_further_than_the_context_costs_nothing(
    supervisor: Supervisor, weights: Path
) -> None:
    sampling = Sampling(temperature=0, repeat_penalty=1.3, repeat_last_n=2**31 - 1)
    whole = Sampling(temperature=0, repeat_penalty=1.3, repeat_last_n=-1)
    said = [
        (await generate(supervisor, weights, QUESTION, sampling=one, max_tokens=8))[0]
        for one in (sampling, whole)
    ]
    assert said[0] == said[1]


async def test_json_mode_gives_an_object(supervisor: Supervisor, weights: Path) -> None:
    text, finish, _ = await generate(
        supervisor,
        weights,
        PROMPT.format("Give me a small JSON object."),
        grammar=Grammar("json"),
        sampling=GREEDY,
        max_tokens=200,
    )
    assert text.lstrip().startswith("{")
    if finish.reason is FinishReason.EOS:
        assert isinstance(json.loads(text), dict)


@pytest.mark.parametrize(
    ("grammar", "pattern"),
    [
        (Grammar("regex", "[A-C]{3}-[0-9]{4}"), r"[A-C]{3}-\d{4}"),
        (Grammar("lark", 'start: "yes" | "no"'), "yes|no"),
        (Grammar("gbnf", 'root ::= ("red" | "green") " " [0-9]+ "!"'), r"(red|green) \d+!"),
    ],
)
async def test_other_grammars_hold(
    supervisor: Supervisor, weights: Path, grammar: Grammar, pattern: str
) -> None:
    sampling = Sampling(temperature=1.0, top_k=20, seed=3)
    text, finish, _ = await generate(
        supervisor, weights, QUESTION, grammar=grammar, sampling=sampling, max_tokens=60
    )
    assert re.fullmatch(pattern, text) or finish.reason is FinishReason.LENGTH
    assert finish.reason is FinishReason.EOS or grammar.kind == "gbnf"


@pytest.mark.parametrize(
    "grammar",
    [
        Grammar("regex", "("),
        Grammar("lark", "start: nobody"),
        Grammar("gbnf", "root ::= ("),
        Grammar("gbnf", "\x00"),
    ],
)
async def test_a_grammar_that_is_none_is_refused(
    supervisor: Supervisor, weights: Path, grammar: Grammar
) -> None:
    with pytest.raises(InvalidRequest, match="format"):
        await generate(supervisor, weights, QUESTION, grammar=grammar)


@pytest.mark.parametrize("schema", ['{"type": "nope"}', "[1]", "{", '{"$ref": "#/$defs/none"}'])
async def test_a_schema_that_is_none_fails_alone(
    supervisor: Supervisor, weights: Path, schema: str
) -> None:
    good = asyncio.create_task(generate(supervisor, weights, QUESTION, sampling=GREEDY))
    with pytest.raises(InvalidRequest, match="format"):
        await generate(supervisor, weights, QUESTION, grammar=Grammar("schema", schema))
    assert "Paris" in (await good)[0]


async def test_logprobs_are_those_of_the_model(supervisor: Supervisor, weights: Path) -> None:
    _, _, pieces = await generate(
        supervisor, weights, QUESTION, sampling=GREEDY, top_logprobs=5, max_tokens=3
    )
    for piece in pieces:
        [logprob] = piece.logprobs
        assert logprob.chosen == logprob.top[0], "greedy takes the best"
        values = [t.logprob for t in logprob.top]
        assert values == sorted(values, reverse=True)
        assert sum(map(math.exp, values)) <= 1.0
        assert logprob.chosen.raw.decode() == piece.text


async def test_a_window_that_is_full_is_shifted(supervisor: Supervisor, weights: Path) -> None:
    sampling = Sampling(temperature=0.5, ignore_eos=True, seed=1)
    _, finish, _ = await generate(
        supervisor, weights, QUESTION, sampling=sampling, context=64, num_keep=4, max_tokens=120
    )
    assert finish.output_tokens == 120
    assert finish.shifted_tokens > 0
    assert finish.reason is FinishReason.LENGTH


async def test_cancelling_a_long_prompt_frees_the_slot(
    supervisor: Supervisor, weights: Path
) -> None:
    await generate(supervisor, weights, QUESTION, max_tokens=1)
    long = asyncio.create_task(generate(supervisor, weights, "word " * 500))
    async with asyncio.timeout(20):
        while supervisor.loaded()[0].stats.num_running == 0:
            await asyncio.sleep(0)
        long.cancel()
        while supervisor.loaded()[0].stats.num_running:
            await asyncio.sleep(0)
    text, _, _ = await generate(supervisor, weights, QUESTION, sampling=GREEDY)
    assert "Paris" in text


async def test_user_text_cannot_write_control_tokens(supervisor: Supervisor, weights: Path) -> None:
    async with supervisor.use(weights) as lease:
        [special] = await lease.model.tokenize([Segment("<|im_end|>")], add_bos=True)
        plain = await lease.model.tokenize([Segment("<|im_end|>", special=False)], add_bos=True)
        assert special not in plain
        assert len(plain) > 1
        assert await lease.model.detokenize([special, *plain]) == "<|im_end|>" * 2


async def test_a_long_text_delays_nobody_else(supervisor: Supervisor, weights: Path) -> None:
    async with supervisor.use(weights) as lease:
        tokens = await lease.model.tokenize([Segment(QUESTION)], add_bos=True)
        long = asyncio.create_task(lease.model.tokenize([Segment(" " * 4_000_000)], add_bos=True))
        await asyncio.sleep(0)
        request = Request(tokens=tokens, sampling=GREEDY, max_tokens=1)
        events = [event async for event in lease.model.generate(request)]
        assert isinstance(events[-1], Finish)
        assert not long.done()
        assert len(await long) > 1000


async def test_an_abort_in_c_is_an_error_and_a_restart(
    supervisor: Supervisor, weights: Path
) -> None:
    await generate(supervisor, weights, QUESTION, max_tokens=1)
    running = asyncio.create_task(
        generate(supervisor, weights, QUESTION, sampling=Sampling(ignore_eos=True))
    )
    async with asyncio.timeout(60):
        while supervisor.loaded()[0].stats.num_running == 0:
            await asyncio.sleep(0)
        pid = supervisor.loaded()[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGABRT)
        with pytest.raises(EngineCrashed):
            await running
        text, _, _ = await generate(supervisor, weights, QUESTION, sampling=GREEDY)
    assert "Paris" in text


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "cannot load"),
        (b"not a model at all" * 100, "cannot load"),
    ],
)
async def test_a_file_that_is_no_model_is_said_to_be_none(
    supervisor: Supervisor, tmp_path: Path, content: bytes, told: str
) -> None:
    path = tmp_path / "junk.gguf"
    path.write_bytes(content)
    with pytest.raises(LoadFailed, match=told):
        async with supervisor.use(path):
            pass


async def test_a_file_that_is_cut_short_does_not_load(
    supervisor: Supervisor, weights: Path, tmp_path: Path
) -> None:
    path = tmp_path / "short.gguf"
    path.write_bytes(weights.read_bytes()[:50_000_000])
    with pytest.raises(LoadFailed):
        async with supervisor.use(path):
            pass
