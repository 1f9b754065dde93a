"""Chat templates that a model file brings, in a real server over llama.cpp."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import psutil
import pytest

from server.engine.config import EngineConfig
from server.engine.llama import LlamaBackend
from server.models.name import ModelName
from server.models.store import Store
from tests.support.serving import Serving
from tests.support.tiny_llama import write_tiny_llama

KIND = "{% for m in messages %}<|end|>{{ m.content }}{% endfor %}"
LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
LARGE = "{% set ns = namespace(x=messages[0].content) %}{% for i in range(60) %}"
LARGE += "{% set ns.x = ns.x ~ ns.x %}{% endfor %}"


@pytest.fixture
def serving(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Serving]:
    store = Store(tmp_path / "models")
    for name, source in (("kind", KIND), ("loop", LOOP), ("large", LARGE), ("broken", "{% if")):
        path = write_tiny_llama(tmp_path / f"{name}.gguf", templates={"": source})
        store.add_file(ModelName.parse(name), path)
    args = ["--models", str(tmp_path / "models"), "--context", "128", "--preload", "kind"]
    with Serving(tmp_path, free_port(), args=args, fake=False) as server:
        yield server


def chat(client: httpx2.Client, model: str) -> httpx2.Response:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "hi<|end|>"}],
        "stream": False,
        "options": {"num_predict": 2},
    }
    return client.post("/api/chat", json=body)


def renderers(serving: Serving) -> list[psutil.Process]:
    children = psutil.Process(serving.process.pid).children(recursive=True)
    return [child for child in children if "server.chat.render_worker" in child.cmdline()]


def test_hostile_templates_harm_their_own_requests_only(serving: Serving) -> None:
    with serving.client() as client, ThreadPoolExecutor() as pool:
        hostile = [pool.submit(chat, client, name) for name in ("loop", "large", "broken")]
        kind = [chat(client, "kind") for _ in range(5)]
        loop, large, broken = (each.result() for each in hostile)
        assert [reply.status_code for reply in kind] == [200] * 5
        # One control token is the template's, the text of the user has none.
        assert {reply.json()["prompt_eval_count"] for reply in kind} == {1 + len("hi<|end|>")}
        assert (loop.status_code, large.status_code, broken.status_code) == (400, 400, 500)
        assert "took longer than 2 s" in loop.json()["error"]
        # On a busy machine the memory is not full before the time is up.
        assert re.search("too much memory|longer than", large.json()["error"])
        assert "template is broken" in broken.json()["error"]


def test_the_processes_end_with_the_server(serving: Serving) -> None:
    with serving.client() as client:
        assert chat(client, "kind").status_code == 200
    processes = renderers(serving)
    assert len(processes) == 1
    serving.process.kill()
    serving.process.wait()
    assert psutil.wait_procs(processes, timeout=20)[1] == []


def test_the_template_for_tools_is_read(tmp_path: Path) -> None:
    templates = {"": "plain", "tool_use": "for tools", "rag": "for documents"}
    both = write_tiny_llama(tmp_path / "both.gguf", templates=templates)
    one = write_tiny_llama(tmp_path / "one.gguf", templates={"": "plain"})
    found = [LlamaBackend(str(path), EngineConfig(threads=1)).info for path in (both, one)]
    assert [info.chat_template for info in found] == ["plain", "plain"]
    assert [info.tool_template for info in found] == ["for tools", None]
