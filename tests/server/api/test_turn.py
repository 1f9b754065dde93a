"""A format and a reply that has begun: it holds for the two together, behind all thinking.

The templates are those of real families; the real matcher says what the model may write.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.api import prompt
from server.api.conversation import conversation_of
from server.api.events import Delta, Thinking
from server.api.requests import ChatRequest, Generation, Think, ToolUse
from server.api.turn import Turn, chat_turn
from server.caller import Caller
from server.chat.messages import ASSISTANT, USER, Message
from server.chat.renderer import Renderer
from server.chat.template import ChatTemplate
from server.engine.backend import RequestError
from server.engine.config import EngineConfig
from server.engine.supervisor import Supervisor
from server.engine.types import Grammar, LoadedModel, Piece
from server.keys import Scope
from server.models.model_files import ModelFiles
from server.models.name import ModelName
from server.models.stored import StoredModel
from tests.server.chat.tools_on_offer import TOOLS
from tests.support.byte_tokens import ByteGrammar
from tests.support.chat_templates import FAMILIES

FORM = Grammar("schema", '{"type": "object", "properties": {"a": {"type": "integer"}}, '
               '"required": ["a"], "additionalProperties": false}')  # fmt: skip
GOOD = '{"a": 1}'
NO_TOOLS = ToolUse()
FINAL = "<|channel|>final<|message|>"

# By the name of the family, and the words that the reply goes on from: what may follow, and
# what may not.
GOES_ON: list[tuple[str, str, list[str], list[str]]] = [
    ("chatml", "", [GOOD], ["no"]),
    ("chatml", "  \n", [GOOD], ["no"]),
    ("chatml", "{", ['"a": 1}'], [GOOD, '"b"']),
    ("chatml", '{"a": 1', ["2}", "}"], ['"', GOOD]),
    ("llama", '{"a"', [": 1}"], [GOOD]),
    ("qwen", "", [GOOD, f"<think>no</think>\n{GOOD}"], ["no", "<think>no</think>no"]),
    ("qwen", "<think>\nI", [f" see{GOOD}.</think>\n\n{GOOD}"], ['</think>"', "</think>no"]),
    ("qwen", "<think>I</think>", [GOOD], ["no", "<think>"]),
    ("qwen", "<think>I</think>\n{", ['"a": 1}'], [GOOD]),
    ("qwen", "{", ['"a": 1}'], [GOOD, "<think>"]),
    ("deepseek", "<think>\nI", [f" see</think>\n\n{GOOD}"], ["</think>no"]),
    ("deepseek", "{", ['"a": 1}'], [GOOD]),
    ("gpt_oss", "", [GOOD], ["no", FINAL, "<|channel|>analysis<|message|>"]),
    ("gpt_oss", "{", ['"a": 1}'], [GOOD, FINAL]),
]  # fmt: skip


@pytest.fixture
async def renderer() -> AsyncIterator[Renderer]:
    renderer = Renderer()
    yield renderer
    await renderer.close()


@pytest.fixture
async def model() -> AsyncIterator[LoadedModel]:
    supervisor = Supervisor(EngineConfig(backend="fake", context=4096))
    async with supervisor.use(ModelFiles(Path("a-model"))) as lease:
        yield lease.model
    await supervisor.close()


@pytest.fixture
def turn_of(renderer: Renderer, model: LoadedModel) -> "TurnOf":
    return TurnOf(renderer, model)


class TurnOf:
    """The turn behind a question, and behind the first words of the answer if there are any."""

    def __init__(self, renderer: Renderer, model: LoadedModel) -> None:
        self._renderer = renderer
        self._model = model

    async def __call__(
        self,
        name: str,
        words: str | None,
        *,
        form: Grammar | None = FORM,
        think: Think = None,
        tool_use: ToolUse = NO_TOOLS,
    ) -> Turn:
        said = [Message(role=USER, content="Which?")]
        if words is not None:
            said.append(Message(role=ASSISTANT, content=words))
        request = ChatRequest(
            model=StoredModel(name=ModelName.parse("m"), digest="", size=0, modified_ns=0),
            messages=tuple(said),
            think=think,
            tool_use=tool_use,
            generation=Generation(caller=Caller(name="", scope=Scope.ADMIN), format=form),
        )
        template = ChatTemplate(FAMILIES[name])
        window = prompt.Window(context=4096, num_keep=0, may_drop=False, may_cut=False)
        made = await prompt.from_chat(
            self._renderer, template, self._model, conversation_of(request), window
        )
        return chat_turn(request, template, made)


def allowed(turn: Turn) -> ByteGrammar:
    assert turn.grammar is not None
    return ByteGrammar(turn.grammar)


@pytest.mark.parametrize(("name", "words", "good", "bad"), GOES_ON)
async def test_what_may_follow(
    turn_of: TurnOf, name: str, words: str, good: list[str], bad: list[str]
) -> None:
    one = allowed(await turn_of(name, words))
    for text in good:
        assert one.accepts(text), text
    for text in bad:
        assert not one.begins(text), text


@pytest.mark.parametrize("name", ["chatml", "qwen", "deepseek", "gpt_oss"])
async def test_words_that_are_no_beginning_of_the_format_are_refused(
    turn_of: TurnOf, name: str
) -> None:
    one = allowed(await turn_of(name, "Here it is: "))
    with pytest.raises(RequestError, match="what the reply begins with"):
        one.begins("{")


@pytest.mark.parametrize("think", [None, False])
async def test_a_format_without_words_stands_in_the_final_channel(
    turn_of: TurnOf, think: Think
) -> None:
    one = allowed(await turn_of("gpt_oss", None, think=think))
    assert one.accepts(FINAL + GOOD)
    assert not one.begins(GOOD)
    assert one.begins("<|channel|>analysis") is (think is None)


async def test_a_call_that_must_be_made_ends_the_answer_that_was_begun(turn_of: TurnOf) -> None:
    must = ToolUse(tools=TOOLS, choice="required")
    one = allowed(await turn_of("gpt_oss", "I look. ", form=None, tool_use=must))
    call = "<|channel|>commentary to=functions.get_time <|constrain|>json<|message|>{}"
    assert one.accepts(f"<|end|><|start|>assistant{call}")
    assert not one.begins(call)
    one = allowed(await turn_of("qwen", "I look. ", form=None, tool_use=must))
    assert one.begins('<tool_call>\n{"name": "get_time"')
    assert not one.begins("<think>")


async def test_a_thought_that_the_template_opened_goes_on(turn_of: TurnOf) -> None:
    one = allowed(await turn_of("deepseek", None))
    assert one.accepts(f"I</think>\n{GOOD}")
    assert not one.accepts(GOOD)


async def test_what_follows_is_read_as_what_the_grammar_took_it_for(turn_of: TurnOf) -> None:
    turn = await turn_of("qwen", "<think>\nI")
    events = turn.reader.feed(Piece(f" see</think>\n\n{GOOD}", ()))
    assert events == [Thinking(" see"), Delta(GOOD)]
