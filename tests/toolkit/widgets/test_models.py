"""The models panel without a browser: list, pull, stop and go on, show, delete."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.keys import digest
from server.models.extras import Extras
from server.models.name import ModelName
from server.models.pull import Progress
from server.models.store import Store
from tests.support.gguf_files import write_model
from tests.support.image_registry import ImageRegistry
from tests.support.panels import buttons, fields, markup, shown, until
from tests.support.ports import free_port
from tests.support.rough_proxy import Answer, Request, RoughProxy
from tests.support.serving import Serving, write_gguf
from toolkit import models as shelf
from toolkit import paths
from toolkit.client import Endpoint
from toolkit.errors import CredentialsError, UsageError
from toolkit.models.shelf import Pace
from toolkit.widgets.models import ModelsPanel

HOSTILE = "<script>window.hacked=1</script>\x1b[2J"


async def sees(panel: ModelsPanel, *texts: str) -> None:
    await until(lambda: all(text in shown(panel) for text in texts), lambda: shown(panel))


async def click(panel: ModelsPanel, name: str) -> None:
    await until(lambda: name in buttons(panel), lambda: f"{list(buttons(panel))} {shown(panel)}")
    buttons(panel)[name].click()


@pytest.fixture
def stored(akash_home: Path, tmp_path: Path) -> Store:
    """A store with one model, whose texts mean harm."""
    store = Store(paths.models())
    file = write_model(tmp_path / "m.gguf", fields={"general.description": HOSTILE})
    store.add_file("mine", file, extras=Extras(system=HOSTILE, licenses=("MIT License\nfree",)))
    return store


@pytest.fixture
async def proxy(
    registry: ImageRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[RoughProxy]:
    proxy = RoughProxy(registry.url)
    async with proxy.serve():
        monkeypatch.setenv("AKASH_LLM_REGISTRIES", proxy.url)
        yield proxy


async def test_the_list_is_a_table_and_details_are_only_text(stored: Store) -> None:
    panel = ModelsPanel()
    await sees(panel, "mine:latest", "Q4_1", "1 model")
    assert '<th scope="col"' in markup(panel) and '<th scope="row">mine:latest' in markup(panel)
    await click(panel, "Show")
    await sees(panel, "MIT License", "Chat template", "System prompt", "Metadata of the file")
    assert "<script>" not in markup(panel) and "\x1b" not in markup(panel)
    assert "<script>window.hacked=1</script>" in shown(panel)


async def test_deleting_asks_first_and_names_the_model(stored: Store) -> None:
    panel = ModelsPanel()
    await click(panel, "Delete…")
    assert "Delete mine:latest, 0.00 MB" in buttons(panel)
    assert fields(panel)["Model"].disabled
    await click(panel, "Keep it")
    assert [model.name.display() for model in stored.list()] == ["mine:latest"]
    await click(panel, "Delete…")
    await click(panel, "Delete mine:latest, 0.00 MB")
    await sees(panel, "mine:latest is deleted.", "No models yet")
    assert stored.list() == []


async def test_a_pull_that_is_stopped_goes_on_from_there(
    registry: ImageRegistry, proxy: RoughProxy, tmp_path: Path, akash_home: Path
) -> None:
    weights, gate = write_model(tmp_path / "w.gguf", rows=4000).read_bytes(), asyncio.Event()
    registry.push("library/slow:x", [("model", weights)])
    proxy.script = lambda request, answer: _held(request, answer, gate)
    panel = ModelsPanel()
    fields(panel)["Pull a model"].value = f"{proxy.host}/library/slow:x"
    await click(panel, "Pull")
    await sees(panel, "of 0.2 MB")
    await until(lambda: bool(list((paths.models() / "blobs").glob("*-partial"))))
    await click(panel, "Stop")
    await sees(panel, "Stopped: what came")
    (partial,) = (paths.models() / "blobs").glob("*-partial")
    assert partial.stat().st_size > 0
    gate.set()
    await click(panel, "Go on")
    await sees(panel, "is here.", "slow:x")
    assert [row.name for row in panel.rows] == [f"{proxy.host}/library/slow:x"]


def _held(request: Request, answer: Answer, gate: asyncio.Event) -> Answer:
    return answer._replace(hold=gate) if request.is_blob else answer


async def test_errors_are_one_line_with_the_next_step(akash_home: Path) -> None:
    panel = ModelsPanel()
    with pytest.raises(UsageError):
        await panel.pull("no name/of:any:kind")
    await sees(panel, "Error:", "invalid model name")
    await click(panel, "Go on")
    await sees(panel, "Error:")


async def test_from_code(stored: Store, proxy: RoughProxy, registry: ImageRegistry) -> None:
    weights = max((paths.models() / "blobs").glob("sha256-*"), key=lambda file: file.stat().st_size)
    registry.push("library/small:1b", [("model", weights.read_bytes())])
    told: list[str] = []
    name = f"{proxy.host}/library/small:1b"
    row = await shelf.pull(name, progress=lambda pace: told.append(str(pace)))
    assert told[0] == "pulling manifest" and row.quantization == "Q4_1"
    listed = await shelf.listed()
    assert str(listed).startswith("NAME") and "<th scope='row'" in listed._repr_html_()
    assert "MIT License" in str(await shelf.show("mine"))
    await shelf.delete("mine")
    assert [each.name for each in await shelf.listed()] == [row.name]


async def test_an_endpoint_as_far_as_the_key_allows(tmp_path: Path, akash_home: Path) -> None:
    models, admin, guest = tmp_path / "served", secrets.token_hex(8), secrets.token_hex(8)
    file = write_gguf(tmp_path / "m.gguf")
    Store(models).add_file("far", file)
    keys = f"a:admin:{digest(admin)},g:read:{digest(guest)}"
    env = {"AKASH_LLM_KEYS": keys, "PATH": os.environ["PATH"]}
    with Serving(tmp_path, free_port(), args=["--models", str(models)], env=env) as server:
        async with Endpoint.open(url=server.url, key=guest, name="far") as endpoint:
            panel = ModelsPanel(endpoint)
            await sees(panel, "Models of the endpoint far", "far:latest")
            assert "far:latest" in str(await panel.show("far:latest"))
            for refused in (panel.delete("far:latest"), panel.pull("other")):
                with pytest.raises(CredentialsError, match="may not change models"):
                    await refused
            await sees(panel, "This key may not change models", "--scope admin")
        async with Endpoint.open(url=server.url, key=admin, name="far") as endpoint:
            panel = ModelsPanel(endpoint)
            await panel.delete("far:latest")
            await sees(panel, "far:latest is deleted.")
            fields(panel)["Where"].value = 1
            await sees(panel, "this machine", "No models yet")
    assert Store(models).list() == []


def test_how_a_pull_goes_in_words() -> None:
    now = [0.0]
    pace = Pace(lambda: now[0])
    pace.see(Progress("pulling manifest"))
    assert str(pace) == "pulling manifest"
    pace.see(Progress("pulling abc", "sha256:abc", 100_000_000, 20_000_000))
    assert str(pace) == "pulling abc: 20.0 of 100.0 MB (20 %)"
    now[0] = 2.0
    pace.see(Progress("pulling abc", "sha256:abc", 100_000_000, 60_000_000))
    assert str(pace) == "pulling abc: 60.0 of 100.0 MB (60 %), 20.0 MB/s, 2 s left"
    assert pace.share == 0.6


async def test_nothing_of_another_place_can_be_deleted(stored: Store) -> None:
    panel = ModelsPanel()
    await click(panel, "Delete…")
    panel._moved()
    assert panel.rows == [] and "Delete…" not in buttons(panel)
    assert not any(name.startswith("Delete") for name in buttons(panel))
    panel._confirmed()  # a click that was on its way
    await sees(panel, "mine:latest")
    assert stored.get(ModelName.parse("mine")).name == ModelName.parse("mine")
