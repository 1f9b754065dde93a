"""What people ask of a server, in a random order that a seed repeats."""

import json
import random
from dataclasses import dataclass, field
from typing import Any

MODEL = "smollm2:135m"
_TEXT = (
    "river stone market winter letter garden signal harbor copper window minute pattern "
    "forest engine silver number island question morning system paper valley answer bridge"
)
_WORDS = _TEXT.split()
_SYSTEMS = tuple(
    f"You are assistant number {number}. " + "Answer shortly and in plain words. " * 12
    for number in range(3)
)
_FLAVOURS: tuple[dict[str, Any], ...] = (
    {},
    {"temperature": 0},
    {"repeat_penalty": 1.2, "dry_multiplier": 0.5},
    {"mirostat": 2},
    {"stop": ["the", "\n\n"]},
    {"top_k": 0, "top_p": 0.95, "min_p": 0.02},
)
_SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@dataclass(frozen=True)
class Ask:
    """One request. `leaves_after` is how many lines its client reads before it goes, None
    if it stays to the end; `status` is the one that is expected."""

    path: str
    body: dict[str, Any]
    leaves_after: int | None = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class Mixture:
    """An endless supply of requests."""

    def __init__(self, seed: int, keys: tuple[str, ...]) -> None:
        self._random = random.Random(seed)
        self._keys = keys
        self._talk: list[dict[str, str]] = []

    def next(self) -> Ask:
        """The next request."""
        kinds = (
            (self._generate, 6),
            (self._chat, 5),
            (self._conversation, 4),
            (self._formatted, 2),
            (self._long, 2),
            (self._endless, 2),
            (self._whole, 2),
            (self._wrong, 2),
        )
        [kind] = self._random.choices([k for k, _ in kinds], [w for _, w in kinds])
        ask = kind()
        headers = {"authorization": f"Bearer {self._random.choice(self._keys)}"}
        return Ask(ask.path, {"model": MODEL, **ask.body}, ask.leaves_after, ask.status, headers)

    def _text(self, least: int, most: int) -> str:
        return " ".join(self._random.choices(_WORDS, k=self._random.randint(least, most)))

    def _options(self, **more: Any) -> dict[str, Any]:
        most = self._random.choice([1, 5, 20, 60])
        options: dict[str, Any] = {"num_predict": most, "seed": self._random.randint(0, 99)}
        return options | self._random.choice(_FLAVOURS) | more

    def _leaves(self) -> int | None:
        return self._random.randint(0, 8) if self._random.random() < 0.25 else None

    def _generate(self) -> Ask:
        body = {"prompt": self._text(1, 60), "options": self._options()}
        return Ask("/api/generate", body, self._leaves())

    def _chat(self) -> Ask:
        messages = [
            {"role": "system", "content": self._random.choice(_SYSTEMS)},
            {"role": "user", "content": self._text(3, 20)},
        ]
        return Ask("/api/chat", {"messages": messages, "options": self._options()}, self._leaves())

    def _conversation(self) -> Ask:
        """One that grows, and begins anew when it is long."""
        if len(self._talk) > 8:
            self._talk = []
        self._talk.append({"role": "user", "content": self._text(3, 12)})
        body = {"messages": list(self._talk), "options": self._options()}
        self._talk.append({"role": "assistant", "content": self._text(3, 12)})
        return Ask("/api/chat", body, self._leaves())

    def _formatted(self) -> Ask:
        shape = self._random.choice(["json", _SCHEMA])
        body = {"prompt": "Give me a number.", "format": shape, "options": self._options()}
        return Ask("/api/generate", body | {"logprobs": True, "top_logprobs": 3}, self._leaves())

    def _long(self) -> Ask:
        """Too long for the window, so that it is cut."""
        return Ask("/api/generate", {"prompt": self._text(250, 700), "options": self._options()}, 3)

    def _endless(self) -> Ask:
        """More than the window holds, so that it is shifted, or until somebody leaves."""
        options = self._options(ignore_eos=True, num_predict=self._random.choice([-1, 700]))
        leaves = self._random.randint(5, 300) if options["num_predict"] < 0 else self._leaves()
        return Ask("/api/generate", {"prompt": self._text(1, 9), "options": options}, leaves)

    def _whole(self) -> Ask:
        body = {"prompt": self._text(1, 20), "options": self._options(), "stream": False}
        return Ask("/api/generate", body)

    def _wrong(self) -> Ask:
        wrong: list[tuple[dict[str, Any], int]] = [
            ({"prompt": "a", "options": {"temperature": "hot"}}, 400),
            ({"prompt": "a", "format": {"type": "nope"}}, 400),
            ({"prompt": "a", "context": [10**6]}, 400),
            ({"prompt": self._text(600, 700), "raw": True, "truncate": False}, 400),
            ({"prompt": "a", "options": {"logit_bias": {"99999": 1}}}, 400),
            ({"prompt": "a", "model": "nobody"}, 404),
        ]
        body, status = self._random.choice(wrong)
        return Ask("/api/generate", json.loads(json.dumps(body)), status=status)
