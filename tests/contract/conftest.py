"""Endpoints for the official clients: one that says what it is told, with tools and thoughts,
and one with the real embedded model in every engine that is here. All are private."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from server.keys import digest
from server.models.store import Store
from tests.engines.kinds import ENGINES, MODEL, REQUIRED, Engine, Facts, RunningEngine
from tests.engines.kinds import KEY as KEY
from tests.support import ports
from tests.support.serving import TEMPLATE_VARIABLE, Serving, write_gguf

EMBEDDED = MODEL
# Written as models of the Hermes family write; prompts show what the template is given.
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}"
    "{% for call in m['tool_calls'] or [] %}"
    "<tool_call>{{ call['function'] | tojson }}</tool_call>{% endfor %}<|im_end|>\n{% endfor %}"
    "{# tools: <tool_call>, thoughts: <think> </think> #}{% if tools %}{% endif %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="session")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """The model `m` says what is between ⟦ and ⟧; it can think and call."""
    folder = tmp_path_factory.mktemp("scripted")
    weights = write_gguf(folder / "m.gguf", fields={"tokenizer.chat_template": TEMPLATE})
    Store(folder / "models").add_file("m", weights)
    args = ["--models", str(folder / "models"), "--parallel", "4", "--preload", "m"]
    env = {"AKASH_LLM_KEYS": f"me:inference:{digest(KEY)}", TEMPLATE_VARIABLE: TEMPLATE}
    with Serving(folder, ports.free_port(), args=args, env=env, step_s=0.001) as server:
        yield server


@pytest.fixture(
    scope="package", params=[pytest.param(engine, id=engine.name) for engine in ENGINES]
)
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningEngine]:
    """Every engine that is here. It ends with these tests."""
    wanted: Engine = request.param
    if reason := wanted.missing():
        assert os.environ.get(REQUIRED) != "all", reason
        pytest.skip(reason)
    with ExitStack() as stack:
        yield RunningEngine(wanted, tmp_path_factory.mktemp(wanted.name), stack)


@pytest.fixture(scope="package")
def real(engine: RunningEngine, embedded_store: Path) -> Serving:
    """The embedded model, loaded, in each of them."""
    return engine.over(embedded_store)


@pytest.fixture
def facts(engine: RunningEngine) -> Facts:
    """What that engine tells of the model."""
    return engine.facts


def _skip_unless(holds: bool, otherwise: str) -> None:
    if not holds:
        pytest.skip(f"this engine {otherwise}: see the table of the engines")


@pytest.fixture
def gives_embeddings(facts: Facts) -> None:
    """For tests of embeddings."""
    _skip_unless(facts.gives_embeddings, "gives no embeddings of a model that generates")


@pytest.fixture
def tells_tokens(facts: Facts) -> None:
    """For tests with tokens of a text."""
    _skip_unless(facts.tells_tokens, "does not tell its tokens")


@pytest.fixture
def tells_stop_strings(facts: Facts) -> None:
    """For tests of which stop string ended a reply."""
    _skip_unless(facts.tells_stop_strings, "does not tell which stop string it was")


@pytest.fixture
def holds_grammars(facts: Facts) -> None:
    """For tests of formats beyond JSON."""
    _skip_unless(facts.holds_grammars, "holds replies to JSON only")
