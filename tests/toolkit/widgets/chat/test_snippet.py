"""The code that the panel gives away, run with the real libraries against a real server."""

import ast
import asyncio
import sys
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from server.keys import digest
from server.models.store import Store
from tests.support import ports
from tests.support.canaries import HOSTILE
from tests.support.endpoint import ScriptedEndpoint
from tests.support.serving import TEMPLATE_VARIABLE, Serving, write_gguf
from toolkit.client import Endpoint
from toolkit.widgets.chat.conversation import Conversation, Said
from toolkit.widgets.chat.pictures import Picture
from toolkit.widgets.chat.snippet import Client, snippet

KEY = "ak-canary-5eed"
TEMPLATE = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}<assistant>"
PNG = Picture("a b'\".png", b"\x89PNG\r\n\x1a\n")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server with a key whose model `m` says what is between ⟦ and ⟧."""
    folder = tmp_path_factory.mktemp("snippets")
    weights = write_gguf(folder / "m.gguf", fields={"tokenizer.chat_template": TEMPLATE})
    Store(folder / "models").add_file("m", weights)
    env = {"AKASH_LLM_KEYS": f"me:inference:{digest(KEY)}", TEMPLATE_VARIABLE: TEMPLATE}
    args = ["--models", str(folder / "models"), "--preload", "m"]
    with Serving(folder, ports.free_port(), args=args, env=env) as running:
        yield running


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "api.key"
    path.write_text(KEY)
    path.chmod(0o600)
    return path


def asked() -> list[Said]:
    conversation = Conversation()
    conversation.begin("first \u202e \"'\\", "m").add("⟦no⟧")
    conversation.begin("then ⟦yes, that⟧", "m")
    return [Said("system", "Be brief."), *conversation.said()]


@pytest.mark.parametrize("client", list(Client))
async def test_it_asks_what_the_panel_asked_and_prints_the_reply(
    client: Client, server: Serving, key_file: Path
) -> None:
    options = {"temperature": 0.0, "num_predict": 40, "seed": 7}
    async with Endpoint.open(url=server.url, key_file=key_file, model="m") as endpoint:
        said = asked()
        stream = endpoint.chat([{"role": s.role, "content": s.text} for s in said], options=options)
        async with aclosing(stream) as chunks:
            wanted = "".join([chunk.text async for chunk in chunks])
        code = snippet(client, endpoint, "m", said, options)
    assert KEY not in code and "yes, that" in wanted
    assert await _run(code) == wanted


async def _run(code: str) -> str:
    """What Python prints for it; `await` at the top as in a notebook."""
    if "await" in code or "async for" in code:
        inner = "\n".join(f"    {line}" for line in code.splitlines())
        code = f"import asyncio\nasync def main():\n{inner}\nasyncio.run(main())"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()
    assert process.returncode == 0, error.decode()
    return out.decode()


@pytest.mark.parametrize("client", list(Client))
@pytest.mark.parametrize("text", [HOSTILE, "'''\"\"\"\\", "{x}\n{{y}}", "\ud83d", "# \u2028 x"])
async def test_any_text_is_a_literal_and_only_that(client: Client, text: str) -> None:
    endpoint = Endpoint.open(url="http://127.0.0.1:1", key=KEY, model=text)
    said = [Said("system", text), Said("user", text, (PNG,))]
    tree = ast.parse(snippet(client, endpoint, text, said, {"temperature": 0.1}))
    literals = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)]
    assert literals.count(text) == 3
    assert PNG.name in literals
    plain = snippet(client, endpoint, "m", [Said("user", "hi")], {})
    assert KEY not in plain
    assert all(line.isprintable() for line in plain.split("\n"))


@pytest.mark.parametrize("client", [Client.OLLAMA, Client.OPENAI])
def test_a_key_without_a_file_comes_from_the_environment(client: Client) -> None:
    endpoint = Endpoint.open(url="http://127.0.0.1:1", key=KEY, model="m")
    code = snippet(client, endpoint, "m", [Said("user", "hi")], {})
    assert "import os" in code and "os.environ['LLM_API_KEY']" in code and KEY not in code


def test_an_endpoint_that_was_deployed_is_connected_to_by_its_name() -> None:
    endpoint = Endpoint.open(url="http://127.0.0.1:1", model="m", name="mine", target="local")
    code = snippet(Client.TOOLKIT, endpoint, "m", [Said("user", "hi")], {})
    assert "await toolkit.connect('mine')" in code


@pytest.mark.parametrize("client", list(Client))
def test_who_cannot_check_the_certificate_is_warned(client: Client) -> None:
    endpoint = Endpoint.open(url="https://127.0.0.1:1", pin="ab" * 32, model="m")
    code = snippet(client, endpoint, "m", [Said("user", "hi")], {})
    assert ("refuses it" in code) is (client is not Client.TOOLKIT)


async def test_pictures_are_sent_as_the_panel_sent_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(PNG.name).write_bytes(PNG.data)
    async with ScriptedEndpoint() as server:
        endpoint = Endpoint.open(url=server.url, model="m")
        for client in (Client.TOOLKIT, Client.OLLAMA):
            assert await _run(snippet(client, endpoint, "m", [Said("user", "?", (PNG,))], {}))
            sent = server.generations()[-1].body["messages"][0]
            assert sent["images"] == [PNG.base64]
