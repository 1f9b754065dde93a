"""What a benchmark asks: prompts made from a seed, without a tokenizer to download.

Prompts are made of common words and differ from their first word on, so that no server
can answer from a cached prefix, unless a shared one is wanted. How many tokens they are,
the server counts. Prompts may also come from a file, one JSON object per line.
"""

import hashlib
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import msgspec

from toolkit import jsontext
from toolkit.errors import UsageError

# Common words that most vocabularies hold as one token each.
_TEXT = (
    "the of and to in is that for it as was with be by on not he his but at are this have from or"
    " had an they which one you were all her she there would their we him been has when who will no"
    " more if out so up said what its about than into them can only other time new some could these"
    " two may first then do any like my now over such our man me even most made after also did many"
    " off before must well back through years much where your way down should because long each"
    " just state those people too mr how little good world make very year still see own work men"
    " day get here old between both life being under three never know same last another while us"
    " might great go come since against right came take used himself few house american use place"
    " during high without again home around small however found part school thought went say"
)
_WORDS = tuple(_TEXT.split())


class Message(msgspec.Struct, frozen=True):
    """One message of a conversation."""

    role: str
    content: str


class Line(msgspec.Struct, frozen=True):
    """One line of a file of prompts: a `prompt`, or the `messages` so far."""

    prompt: str = ""
    messages: tuple[Message, ...] = ()
    output_tokens: int | None = None

    def conversation(self) -> tuple[Message, ...]:
        """What is sent."""
        return self.messages or (Message("user", self.prompt),)


class Ask(msgspec.Struct, frozen=True):
    """One turn: what is said, and how many tokens are wanted back."""

    messages: tuple[Message, ...]
    output_tokens: int


class Workload(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The requests of one benchmark: how long they are, and what they are made from.

    Lengths are one number, or even between it and `…_to`. `prefix_words` come before the
    words of each prompt and are one of `prefixes` texts. `turns` is how many requests a
    conversation has; each has all of it so far. With `file` prompts come from there, in
    order and again from the start. Unless `ignore_eos` is off, the model is to go on until
    all tokens are there.
    """

    prompt_words: int = 128
    prompt_words_to: int | None = None
    output_tokens: int = 64
    output_tokens_to: int | None = None
    prefix_words: int = 0
    prefixes: int = 1
    turns: int = 1
    seed: int = 1
    ignore_eos: bool = True
    file: str = ""
    file_sha256: str = ""

    @classmethod
    def from_jsonl(cls, path: Path, **given: Any) -> Self:
        """A workload of the prompts in a file. Raises `UsageError` for what is none."""
        content = _content(path)
        _lines(content, path.name)
        return cls(file=str(path), file_sha256=hashlib.sha256(content).hexdigest(), **given)

    def checked(self) -> Self:
        """Itself. Raises `UsageError` for values that cannot be meant."""
        ends = (self.prompt_words_to or self.prompt_words, self.output_tokens_to)
        if self.prompt_words < 1 or self.output_tokens < 2:
            raise UsageError(
                "A prompt needs a word, and an answer two tokens to be timed.",
                hint="Raise the prompt words or the output tokens.",
            )
        if ends[0] < self.prompt_words or (ends[1] or self.output_tokens) < self.output_tokens:
            raise UsageError("A range of lengths ends before it begins.", hint="Give it as 64-256.")
        if self.prefix_words < 0 or self.prefixes < 1 or self.turns < 1:
            raise UsageError(
                "A conversation has a turn, and a shared prefix is one text at least.",
                hint="Give counts of at least one.",
            )
        if self.file and (self.prefix_words or self.turns > 1):
            raise UsageError(
                "Prompts of a file are sent as they are.",
                hint="Leave out the shared prefix and the turns.",
            )
        return self

    def lines(self) -> Sequence[Line]:
        """The prompts of the file, none without one. Raises `UsageError` if it has changed."""
        if not self.file:
            return ()
        path = Path(self.file)
        content = _content(path)
        if hashlib.sha256(content).hexdigest() != self.file_sha256:
            raise UsageError(
                f"{path.name} has changed since the workload was made.",
                hint="Make the workload again.",
            )
        return _lines(content, path.name)

    def named(self) -> Self:
        """Without the folder of its file, for a result that others may see."""
        return msgspec.structs.replace(self, file=Path(self.file).name) if self.file else self

    def digest(self) -> str:
        """Names the workload: two results with the same digest were asked the same."""
        same = msgspec.structs.replace(self, file="")
        whole = msgspec.to_builtins(same)
        return hashlib.sha256(msgspec.json.encode(whole, order="deterministic")).hexdigest()[:16]


class Prompts:
    """Makes the requests of a workload; the same for the same seed on every machine, but for the
    word that each text begins with: `run` is a number of 32 bits that makes it another in each
    run, so that no run finds in a cache what one before it has asked."""

    def __init__(self, workload: Workload, run: int = 0) -> None:
        self.workload = workload
        self._run = run
        self._file = workload.lines()

    def ask(self, salt: str, conversation: int, turn: int = 0) -> Ask:
        """What one turn of one conversation says. `salt` tells levels apart, so that no
        level finds the prompts of another in a cache."""
        work = self.workload
        if self._file:
            line = self._file[conversation % len(self._file)]
            return Ask(line.conversation(), line.output_tokens or work.output_tokens)
        source = _source(f"{work.seed}/{salt}/{conversation}/{turn}")
        words = source.randint(work.prompt_words, work.prompt_words_to or work.prompt_words)
        tokens = source.randint(work.output_tokens, work.output_tokens_to or work.output_tokens)
        prefix = ""
        if work.prefix_words and turn == 0:
            number = source.randrange(work.prefixes)
            shared = _source(f"{work.seed}/prefix/{number}")
            prefix = _text(shared, work.prefix_words, self._run) + " "
        return Ask((Message("user", prefix + _text(source, words, self._run)),), tokens)


def _source(name: str) -> random.Random:
    # A string seeds by its digest, which is stable between versions of Python.
    return random.Random(name)  # noqa: S311 - test text, not a secret


def _text(source: random.Random, words: int, run: int) -> str:
    """So many words that begin like no others."""
    return " ".join([f"{source.getrandbits(32) ^ run:08x}", *source.choices(_WORDS, k=words)])


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}.",
            hint='Give a file with one JSON object per line, such as {"prompt": "…"}.',
        ) from error


def _lines(content: bytes, name: str) -> list[Line]:
    found = []
    for number, raw in enumerate(content.splitlines(), 1):
        if not raw.strip():
            continue
        try:
            line = jsontext.decoded(raw, Line)
        except msgspec.MsgspecError as error:
            raise _bad(name, number, str(error)) from error
        if not line.prompt and not line.messages:
            raise _bad(name, number, "it has neither a prompt nor messages")
        if line.output_tokens is not None and line.output_tokens < 2:
            raise _bad(name, number, "an answer needs two tokens to be timed")
        found.append(line)
    if not found:
        raise _bad(name, 1, "it is empty")
    return found


def _bad(name: str, number: int, why: str) -> UsageError:
    return UsageError(
        f"{name}, line {number}: {why}.",
        hint='Each line is an object such as {"prompt": "…", "output_tokens": 64}.',
    )
