"""The engine alone, in the way of llama-bench: prompt and generation speed, one at a time.

`pp512` reads a prompt of 512 tokens, `tg128` generates 128, `pg512+128` does both; `@ d2048`
does it behind 2,048 tokens. Each is repeated with new prompts after a warm-up; mean and
standard deviation are of tokens/s. Where the server tells its own times (Ollama's API) they
are used and leave out network, queue and templates; else the client's.

A prompt at a depth is timed as the difference of two new prompts, with and without it, so
that no cache is needed and none helps. Token counts are the server's; words are fitted to
them, so a test may be off its name by a few tokens, which the rate knows.
"""

import secrets
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import msgspec

from toolkit.bench.config import BenchConfig
from toolkit.bench.records import Outcome, Phase, RequestRecord
from toolkit.bench.request import Asker, Place
from toolkit.bench.result import Subject
from toolkit.bench.subject import Facts, look
from toolkit.bench.warmup import warm_up
from toolkit.bench.wire import Terms
from toolkit.bench.workload import Prompts, Workload
from toolkit.client import Endpoint
from toolkit.errors import EndpointError, UsageError

_FEW, _MANY = 16, 144
FEWEST_TOKENS = 2


class EngineConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Which tests: every prompt and output length (0 for none), at every depth."""

    prompts: tuple[int, ...] = (512,)
    outputs: tuple[int, ...] = (128,)
    both: tuple[tuple[int, int], ...] = ()
    depths: tuple[int, ...] = (0,)
    repetitions: int = 5
    seed: int = 1
    api: str = "auto"

    def tests(self) -> "Iterator[EngineTest]":
        """All of them. Raises `UsageError` for what cannot be meant."""
        counts = [
            *self.prompts,
            *self.outputs,
            *self.depths,
            *(n for pair in self.both for n in pair),
        ]
        if self.repetitions < 1 or any(count < 0 for count in counts):
            raise UsageError("Lengths and repetitions are counts.", hint="Such as -p 512 -n 128.")
        for depth in self.depths:
            yield from (EngineTest(prompt=p, output=0, depth=depth) for p in self.prompts if p)
            yield from (EngineTest(prompt=0, output=n, depth=depth) for n in self.outputs if n)
            yield from (EngineTest(prompt=p, output=n, depth=depth) for p, n in self.both)


class EngineTest(msgspec.Struct, frozen=True, kw_only=True):
    """What is timed: so many tokens read, so many generated, behind so many."""

    prompt: int
    output: int
    depth: int = 0

    def __str__(self) -> str:
        at = f" @ d{self.depth}" if self.depth else ""
        if self.prompt and self.output:
            return f"pg{self.prompt}+{self.output}{at}"
        return f"pp{self.prompt}{at}" if self.prompt else f"tg{self.output}{at}"


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a test: tokens/s of every repetition, and how many tokens it was."""

    test: str
    tokens: int
    samples: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Of tokens/s."""
        return statistics.fmean(self.samples)

    @property
    def std(self) -> float:
        """Standard deviation of tokens/s."""
        return statistics.stdev(self.samples) if len(self.samples) > 1 else 0.0


class EngineResult(msgspec.Struct, frozen=True, kw_only=True):
    """All tests that were done; `complete` False after an interruption. `times` says whose."""

    schema: int = 1
    created_at: str
    complete: bool
    subject: Subject
    config: EngineConfig
    times: str = ""
    speeds: tuple[Speed, ...] = ()


class EngineRun:
    """One run of tests; `result` is there before, during and after."""

    def __init__(
        self,
        config: EngineConfig,
        endpoint: Endpoint,
        on_speed: Callable[[Speed], None] | None = None,
        *,
        facts: Facts | None = None,
    ) -> None:
        """`on_speed` gets each test when it is done."""
        self.config = config
        self.endpoint = endpoint
        self._tests = tuple(config.tests())
        self._on_speed = on_speed or (lambda _: None)
        self._facts = facts or Facts()
        self._subject = Subject(name=endpoint.name, url=endpoint.url, model=endpoint.model)
        self._created_at = datetime.now(UTC).isoformat(timespec="seconds")
        self._speeds: list[Speed] = []
        self._times = ""
        self._asked = 0
        self._run = secrets.randbits(32)
        self._fit = (1.0, 0.0)

    async def run(self) -> EngineResult:
        """Every test in turn. Raises `EndpointError` if one fails, `CredentialsError`."""
        wire, self._subject = await look(self.endpoint, self.config.api, self._facts)
        asker = Asker(
            self.endpoint, wire, Terms(seed=self.config.seed), must_fill=True, keep_text=False
        )
        short = Workload(prompt_words=_FEW, output_tokens=FEWEST_TOKENS)
        await warm_up(asker, Prompts(short, self._run), BenchConfig(warmup=1))
        self._fit = await self._fitted(asker)
        for test in self._tests:
            samples = [await self._sample(asker, test) for _ in range(self.config.repetitions)]
            tokens = round(statistics.median(tokens for tokens, _ in samples))
            rates = tuple(tokens / seconds for tokens, seconds in samples if seconds > 0)
            if not rates:
                raise EndpointError(f"{test} is too short to be timed.", hint="Make it longer.")
            self._speeds.append(Speed(test=str(test), tokens=tokens, samples=rates))
            self._on_speed(self._speeds[-1])
        return self.result()

    def result(self) -> EngineResult:
        """What was measured so far."""
        return EngineResult(
            created_at=self._created_at,
            complete=len(self._speeds) == len(self._tests),
            subject=self._subject,
            config=self.config,
            times=self._times,
            speeds=tuple(self._speeds),
        )

    async def _fitted(self, asker: Asker) -> tuple[float, float]:
        """Tokens of a word, and of what the template adds."""
        few, many = [
            _count(await self._ask(asker, words, FEWEST_TOKENS)) for words in (_FEW, _MANY)
        ]
        slope = max((many - few) / (_MANY - _FEW), 0.1)
        return slope, few - slope * _FEW

    def _words(self, tokens: int) -> int:
        slope, added = self._fit
        return max(1, round((tokens - added) / slope))

    async def _sample(self, asker: Asker, test: EngineTest) -> tuple[int, float]:
        """Tokens and seconds of one repetition."""
        if test.prompt and test.output:
            record = await self._ask(asker, self._words(test.depth + test.prompt), test.output)
            return _count(record) - test.depth + (record.output_tokens or 0), _whole(record)
        if test.output:
            record = await self._ask(asker, self._words(test.depth), test.output)
            return self._generated(record)
        longer = await self._ask(asker, self._words(test.depth + test.prompt), FEWEST_TOKENS)
        if not test.depth:
            return _count(longer), self._read(longer)
        shorter = await self._ask(asker, self._words(test.depth), FEWEST_TOKENS)
        return _count(longer) - _count(shorter), self._read(longer) - self._read(shorter)

    def _read(self, record: RequestRecord) -> float:
        """Seconds of the prompt."""
        if record.server_prompt_s:
            self._times = "the server's"
            return record.server_prompt_s
        self._times = "the client's"
        return record.text_s[0] - record.sent_s

    def _generated(self, record: RequestRecord) -> tuple[int, float]:
        """Tokens generated and the seconds that they took."""
        tokens = record.output_tokens or 0
        if record.server_output_s:
            self._times = "the server's"
            return tokens, record.server_output_s
        self._times = "the client's"
        return tokens - 1, record.text_s[-1] - record.text_s[0]

    async def _ask(self, asker: Asker, words: int, tokens: int) -> RequestRecord:
        workload = Workload(prompt_words=words, output_tokens=tokens, seed=self.config.seed)
        asked = Prompts(workload, self._run).ask("engine", self._asked)
        self._asked += 1
        found: list[RequestRecord] = []
        await asker.ask(
            asked.messages,
            tokens,
            Place(index=self._asked, began=time.perf_counter()),
            phase=lambda _: Phase.MEASURED,
            sink=found.append,
            on_text=lambda: None,
        )
        (record,) = found
        if record.outcome is not Outcome.OK or not record.text_s:
            why = record.error or f"the answer has {record.output_tokens} of {tokens} tokens"
            raise EndpointError(
                f"A test failed: {why}.", hint="Its context may be too small; try shorter tests."
            )
        return record


def _count(record: RequestRecord) -> int:
    if record.prompt_tokens is None:
        raise EndpointError(
            "The endpoint does not count the tokens of a prompt.", hint="Use its Ollama API."
        )
    return record.prompt_tokens


def _whole(record: RequestRecord) -> float:
    if record.server_prompt_s and record.server_output_s:
        return record.server_prompt_s + record.server_output_s
    return record.end_s - record.sent_s
