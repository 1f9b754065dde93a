"""Endpoints for the official clients: one that says what it is told, with tools and thoughts,
and one with the real embedded model. Both are private."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from server.keys import digest, generate_key
from server.models.store import Store
from tests.support import ports
from tests.support.serving import TEMPLATE_VARIABLE, Serving, write_gguf

KEY = generate_key()
EMBEDDED = "smollm2:135m"
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


@pytest.fixture(scope="session")
def real(embedded_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """The embedded model, loaded."""
    env = {
        "AKASH_LLM_KEYS": f"me:inference:{digest(KEY)}",
        "AKASH_LLM_MODELS": str(embedded_store),
        "AKASH_LLM_PRELOAD": EMBEDDED,
    }
    folder = tmp_path_factory.mktemp("real")
    with Serving(folder, ports.free_port(), env=env, fake=False) as server:
        yield server
