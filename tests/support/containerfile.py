"""What a Containerfile says about the image it makes: as much of the language as ours use."""

import json
import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).resolve().parents[2] / "templates" / "image"
VARIANTS = ("cpu", "cuda", "gateway")


class Containerfile:
    """The stages of a Containerfile, each a list of (instruction, rest of the line)."""

    def __init__(self, text: str) -> None:
        self.defaults: dict[str, str] = {}
        self.stages: list[Stage] = []
        for instruction, rest in _instructions(text):
            if instruction == "FROM":
                self.stages.append(Stage(self._filled(rest.partition(" AS ")[0]), []))
            elif instruction == "ARG" and not self.stages:
                name, _, default = rest.partition("=")
                self.defaults[name] = default
            else:
                self.stages[-1].lines.append((instruction, rest))

    @classmethod
    def of(cls, variant: str) -> "Containerfile":
        """One of ours."""
        return cls((FOLDER / f"Containerfile.{variant}").read_text(encoding="utf-8"))

    @property
    def image(self) -> "Stage":
        """The last stage: the image itself."""
        return self.stages[-1]

    def _filled(self, text: str) -> str:
        return re.sub(r"\$\{(\w+)\}", lambda found: self.defaults[found[1]], text)


class Stage(NamedTuple):
    """What follows a FROM."""

    base: str
    lines: list[tuple[str, str]]

    def all(self, instruction: str) -> list[str]:
        """What stands behind each of these instructions."""
        return [rest for name, rest in self.lines if name == instruction]

    def only(self, instruction: str) -> str:
        """What stands behind the one such instruction."""
        (rest,) = self.all(instruction)
        return rest

    @property
    def environment(self) -> dict[str, str]:
        return self._pairs("ENV")

    @property
    def labels(self) -> dict[str, str]:
        return self._pairs("LABEL")

    @property
    def entrypoint(self) -> list[str]:
        """In exec form, or this raises."""
        return _exec_form(self.only("ENTRYPOINT"))

    @property
    def health_check(self) -> list[str]:
        return _exec_form(self.only("HEALTHCHECK").partition("CMD ")[2])

    def _pairs(self, instruction: str) -> dict[str, str]:
        words = [word for rest in self.all(instruction) for word in shlex.split(rest)]
        return dict(word.split("=", 1) for word in words)


def _exec_form(text: str) -> list[str]:
    words: Any = json.loads(text)
    assert isinstance(words, list)
    return [str(word) for word in words]


def _instructions(text: str) -> list[tuple[str, str]]:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    whole = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in whole.split("\n")]
