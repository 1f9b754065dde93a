"""Modelfiles as people write them, as Ollama prints them, and as nobody should."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.models import modelfile
from server.models.manifest import Message
from server.models.modelfile_reader import Modelfile, ModelfileError, parse

WHOLE = '''
# a comment
FROM llama3:8b
from ./adapter base.gguf
Adapter ./lora.gguf
parameter temperature 0.7
PARAMETER stop <|end|>
PARAMETER stop "<|user|>"
SYSTEM first
SYSTEM """You are
  "kind".
"""
TEMPLATE """{{ x }}"""
MESSAGE user Hi there!
MESSAGE Assistant """Hello"""
LICENSE MIT
LICENSE """
Apache
"""
'''


def test_every_instruction_is_read() -> None:
    assert parse(WHOLE) == Modelfile(
        sources=("llama3:8b", "./adapter base.gguf"),
        adapters=("./lora.gguf",),
        parameters=(("temperature", "0.7"), ("stop", "<|end|>"), ("stop", "<|user|>")),
        template="{{ x }}",
        system='You are\n  "kind".\n',
        messages=(Message("user", "Hi there!"), Message("assistant", "Hello")),
        licenses=("MIT", "\nApache\n"),
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no FROM line"),
        ("# FROM x", "no FROM line"),
        ("SYSTEM x", "no FROM line"),
        ("FROM x\n\nBAD y", r'\(line 3\): command must be one of "from", "license"'),
        ("FROM x\nMESSAGE tool y", r'\(line 2\): message role must be one of "system"'),
        ("FROM", r"\(line 1\): .*a value is missing"),
        ("FROM x\nPARAMETER stop", r"\(line 2\): .*a value is missing"),
        ('FROM x\nSYSTEM """a\nb', r"\(line 2\): three quotes are not closed"),
        ('FROM x\nSYSTEM "a', r"\(line 2\): a quote is not closed"),
        ("FROM x\nRENDERER y", r"\(line 2\): RENDERER is not supported"),
        ("FROM x\n" + "#" * (1 << 20), "at most"),
    ],
)
def test_text_that_is_no_modelfile(text: str, why: str) -> None:
    with pytest.raises(ModelfileError, match=why) as caught:
        parse(text)
    assert caught.value.status == 400


@given(st.text() | st.text('FROM SYSTEM"\n\r #PARAMETER x', max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        assert parse(text).sources
    except ModelfileError as error:
        assert error.message


TEXTS = (
    st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), min_size=1, max_size=60)
    .filter(lambda text: '"""' not in text and text.strip())
    .filter(lambda text: "\n" in text or text == text.strip())
)


@given(TEXTS, TEXTS, st.lists(TEXTS, max_size=3))
def test_what_is_printed_is_read_again(system: str, said: str, licenses: Sequence[str]) -> None:
    text = modelfile.render(
        "m",
        [Path("/blobs/sha256-x")],
        adapters=[Path("/blobs/sha256-y")],
        system=system,
        parameters={"temperature": 0.5, "stop": ["<a>", "b c"]},
        messages=[Message("user", said)],
        licenses=licenses,
    )
    found = parse(text)
    assert found.sources == ("/blobs/sha256-x",)
    assert found.adapters == ("/blobs/sha256-y",)
    assert found.system == system
    assert found.parameters == (("temperature", "0.5"), ("stop", "<a>"), ("stop", "b c"))
    assert found.messages == (Message("user", said),)
    assert found.licenses == tuple(licenses)
