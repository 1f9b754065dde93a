"""What probes ask, and how what is answered is judged."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import httpx2
import msgspec

from tests.engines.kinds import ADMIN_KEY, MODEL

_TIMEOUT_S = 180
_LONGEST = 160


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of a probe: it works, it does not and this is `said`, the option is ignored and
    the reply says so, or there is no model here to try it with."""

    result: Literal["yes", "no", "ignored", "untried"]
    said: str = ""


class No(Exception):
    """What was asked for did not come; the text is what the server said instead."""


class Ignored(Exception):
    """The server said that it makes no difference."""


class Untried(Exception):
    """There is no model for it."""


class Subject:
    """A server over one engine. `roles` are its models for what the embedded one cannot show."""

    def __init__(self, url: str, roles: Mapping[str, str]) -> None:
        self._roles = roles
        self.client = httpx2.Client(
            base_url=url,
            timeout=_TIMEOUT_S,
            trust_env=False,
            headers={"authorization": f"Bearer {ADMIN_KEY}"},
        )

    def __enter__(self) -> "Subject":
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def model(self, role: str) -> str:
        """The model for a role. Raises `Untried`."""
        if role not in self._roles:
            raise Untried
        return self._roles[role]

    def post(self, path: str, **body: Any) -> httpx2.Response:
        """The answer to a body, of a model that is the embedded one unless it says. Raises `No`."""
        reply = self.client.post(path, json={"model": MODEL, "stream": False, **body})
        return checked(reply)

    def generate(self, prompt: str, **more: Any) -> dict[str, Any]:
        """Ollama's reply to a prompt, by the best token each time unless options say else."""
        return self._ollama("/api/generate", {"prompt": prompt}, more)

    def chat(self, content: str, *more_messages: Any, **more: Any) -> dict[str, Any]:
        """The same to a message of a user and those behind it."""
        messages = [{"role": "user", "content": content}, *more_messages]
        return self._ollama("/api/chat", {"messages": messages}, more)

    def _ollama(self, path: str, said: Any, more: dict[str, Any]) -> dict[str, Any]:
        options = {"temperature": 0, "num_predict": 16, **more.pop("options", {})}
        found: dict[str, Any] = self.post(path, **said, **more, options=options).json()
        return found


def checked(reply: httpx2.Response) -> httpx2.Response:
    """The reply, if it is one of success. Raises `No` with what it says."""
    if reply.is_success:
        return reply
    error = reply.json().get("error", "")
    raise No(error["message"] if isinstance(error, dict) else error)


class Probe(NamedTuple):
    """One thing that an engine may have. `ask` returns if it does, and raises `No`, `Ignored` or
    `Untried` otherwise."""

    name: str
    ask: Callable[[Subject], object]

    def outcome(self, subject: Subject) -> Outcome:
        """What comes of it."""
        try:
            self.ask(subject)
        except Ignored:
            return Outcome("ignored")
        except Untried:
            return Outcome("untried")
        except No as no:
            return Outcome("no", " ".join(str(no).split())[:_LONGEST])
        return Outcome("yes")


def require(claim: object, otherwise: str) -> None:
    """Raises `No` with that text if the claim does not hold."""
    if not claim:
        raise No(otherwise)
