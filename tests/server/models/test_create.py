"""Making models: of another one, of blobs, with every field of a Modelfile."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from server.errors import Forbidden, InvalidRequest, ModelNotFound, ServerError
from server.models.create import Creator
from server.models.extras import Extras
from server.models.manifest import Message, digest_of
from server.models.pull import Progress, Puller
from server.models.recipe import Recipe
from server.models.store import BlobMissing, Store
from server.models.uploads import upload
from tests.support.gguf_files import write_model
from tests.support.image_registry import ImageRegistry
from tests.support.ollama_store import blob_names
from tests.support.rough_proxy import RoughProxy
from tests.support.tiny_llama import write_tiny_llama
from tests.support.tiny_lora import write_tiny_lora
from tests.support.tiny_split import write_tiny_split

JINJA = "{% for message in messages %}{{ message.content }}{% endfor %}"


@pytest.fixture
def creator(store: Store) -> Creator:
    return Creator(store)


@pytest.fixture
def base(store: Store, tmp_path: Path) -> Store:
    """The store with a model `base` that has everything."""
    extras = Extras(
        system="Be brief.",
        template="{{ .Prompt }}",
        params={"stop": ["<a>"], "temperature": 0.5},
        messages=(Message("user", "hi"),),
        licenses=("MIT",),
    )
    store.add_file("base", write_model(tmp_path / "base.gguf"), extras=extras)
    return store


async def send(store: Store, data: bytes) -> str:
    """Upload a blob; its digest."""
    digest = digest_of(data)

    async def chunks() -> AsyncIterator[bytes]:
        yield data

    await upload(store, digest, chunks())
    return digest


async def made(creator: Creator, recipe: Recipe) -> list[str]:
    return [step.status async for step in creator.create(recipe)]


# -- from another model


async def test_base_gives_what_the_recipe_does_not_say(base: Store, creator: Creator) -> None:
    told = await made(creator, Recipe(name="New", base="base"))
    assert told[-2:] == ["writing manifest", "success"]
    assert all(line.startswith("using existing layer sha256:") for line in told[:-2])
    old, new = base.get("base"), base.get("new")
    assert new.problem is None and new.name.display() == "New:latest"
    assert (new.weights, new.system, new.template) == (old.weights, old.system, old.template)
    assert (new.parameters, new.messages) == (old.parameters, old.messages)
    assert new.licenses == old.licenses


async def test_recipe_replaces_what_the_base_has(base: Store, creator: Creator) -> None:
    recipe = Recipe(
        name="new",
        base="BASE",
        system="Be long.",
        parameters={"temperature": 1, "num_ctx": 2048.0, "use_mmap": True},
        messages=[Message("system", "s"), Message("assistant", "a")],
        licenses=["Apache-2.0"],
        template=JINJA,
        may_set_template=True,
    )
    told = await made(creator, recipe)
    assert sum(line.startswith("creating new layer sha256:") for line in told) == 5
    new = base.get("new")
    assert new.system == "Be long."
    assert new.parameters == {
        "stop": ["<a>"],
        "temperature": 1.0,
        "num_ctx": 2048,
        "use_mmap": True,
    }
    assert [message.role for message in new.messages] == ["system", "assistant"]
    assert set(new.licenses) == {"MIT", "Apache-2.0"}
    assert (new.jinja, new.template, new.template_text) == (JINJA, None, JINJA)
    assert base.get("base").system == "Be brief."


async def test_model_may_be_made_over_its_base(base: Store, creator: Creator) -> None:
    await made(creator, Recipe(name="base", base="base", system="New."))
    (model,) = base.list()
    assert (model.system, model.problem) == ("New.", None)
    assert not base.blobs.path(digest_of(b"Be brief.")).exists()


async def test_base_that_is_not_there_is_pulled(
    store: Store, puller: Puller, proxy: RoughProxy, registry: ImageRegistry, tmp_path: Path
) -> None:
    registry.push("library/base:x", [("model", write_model(tmp_path / "b.gguf").read_bytes())])
    creator = Creator(store, puller=puller)
    told = await made(creator, Recipe(name="n", base=f"{proxy.host}/library/base:x", system="s"))
    assert told[0] == "pulling manifest"
    assert told.count("success") == 1 and told[-1] == "success"
    assert store.get("n").system == "s"
    with pytest.raises(ModelNotFound):
        await made(Creator(store), Recipe(name="n", base="none"))


# -- from blobs


async def test_files_make_a_model(store: Store, creator: Creator, tmp_path: Path) -> None:
    weights = write_model(tmp_path / "w.gguf").read_bytes()
    projector = write_model(tmp_path / "p.gguf", architecture="clip").read_bytes()
    lora = write_tiny_lora(tmp_path / "l.gguf").read_bytes()
    files = {"m.gguf": await send(store, weights), "mm.gguf": await send(store, projector)}
    adapters = {"lora.gguf": (await send(store, lora)).replace(":", "-")}
    told = await made(creator, Recipe(name="m", files=files, adapters=adapters))
    assert told == [
        "parsing GGUF",
        "parsing GGUF",
        f"using existing layer {digest_of(weights)}",
        f"using existing layer {digest_of(projector)}",
        f"using existing layer {digest_of(lora)}",
        "writing manifest",
        "success",
    ]
    model = store.get("m")
    assert model.problem is None
    assert model.check()[0].read_bytes() == weights
    assert model.projector is not None and model.projector.read_bytes() == projector
    assert model.details.families == ["llama", "clip"]
    assert [path.read_bytes() for path in model.adapters] == [lora]


async def test_parts_make_a_model_in_whatever_order(
    store: Store, creator: Creator, tmp_path: Path
) -> None:
    parts = write_tiny_split(tmp_path)
    files = {path.name: await send(store, path.read_bytes()) for path in reversed(parts)}
    await made(creator, Recipe(name="m", files=files))
    model = store.get("m")
    assert model.problem is None
    assert model.check()[1].tensor_count == 21
    files.popitem()
    with pytest.raises(ServerError, match="2 files are not the parts of one model"):
        await made(creator, Recipe(name="other", files=files))


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "neither 'from' or 'files' was specified"),
        ({"base": "b", "files": {"a": "b"}}, "cannot be used together"),
        ({"files": {"/etc/passwd": "x"}}, "file path must be relative"),
        ({"files": {"a/../../b": "x"}}, "file path must be relative"),
        ({"files": {"m.gguf": "sha256:../../x"}}, "invalid digest format"),
        ({"files": {"m.gguf": f"sha256:{'0' * 64}"}}, "does not exist"),
        ({"files": {"m.safetensors": "x"}}, "safetensors"),
        ({"base": "base", "parameters": {"x": 1}}, "unknown parameter 'x'"),
        ({"base": "base", "parameters": {"num_ctx": "many"}}, 'option "num_ctx" must be of type'),
        ({"base": "base", "messages": [Message("tool", "x")]}, "message role must be one of"),
        ({"base": "base", "quantize": "q9"}, "unsupported quantization type q9"),
        ({"base": "base", "template": "{% if %}", "may_set_template": True}, "is no Jinja"),
        ({"base": "base", "system": "x" * (1 << 20) + "x"}, "at most 1048576 characters"),
    ],
)
async def test_recipe_that_makes_no_sense_is_refused(
    base: Store, creator: Creator, fields: dict[str, Any], why: str
) -> None:
    with pytest.raises(InvalidRequest, match=why) as caught:
        await made(creator, Recipe(name="m", **fields))
    assert caught.value.status == 400
    assert [model.name.model for model in base.list()] == ["base"]


@pytest.mark.parametrize(
    "template",
    [
        "{{ .Prompt }}",
        "{{- .System -}}",
        "{{ $x := 1 }}",
        "{{/* comment */}}",
        "x{{ end }}",
        "{{- else -}}",
        '{{ if eq .Role "user" }}',
        "{{ range .Messages }}",
        "{{ json .Tools }}",
        '{{ template "x" }}',
    ],
)
async def test_templates_of_go_are_known(base: Store, creator: Creator, template: str) -> None:
    recipe = Recipe(name="m", base="base", template=template, may_set_template=True)
    with pytest.raises(InvalidRequest, match="Go's language"):
        await made(creator, recipe)


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ m.content }}{% break %}{% endfor %}",
        "{{ range(3) | list }}{{ not (x) }}{{ not x }}{{- end_of_turn }}{{ if_set }}",
        "{{ '{{' }}{# comment #}{{ bos_token }}",
        "{% generation %}{{ messages[0].content }}{% endgeneration %}",
    ],
)
async def test_jinja_is_taken(base: Store, creator: Creator, template: str) -> None:
    await made(creator, Recipe(name="m", base="base", template=template, may_set_template=True))
    assert base.get("m").jinja == template


async def test_template_needs_an_administrator(base: Store, creator: Creator) -> None:
    with pytest.raises(Forbidden):
        await made(creator, Recipe(name="m", base="base", template=JINJA))
    with pytest.raises(InvalidRequest, match=r"^invalid model name$"):
        await made(creator, Recipe(name="../m", base="base"))


async def test_deprecated_parameters_are_dropped_and_told(base: Store, creator: Creator) -> None:
    recipe = Recipe(name="m", base="base", parameters={"mirostat": 1, "top_k": 3, "seed": None})
    told = await made(creator, recipe)
    assert told[0] == "warning: parameter mirostat is deprecated and was left out"
    assert base.get("m").parameters == {"stop": ["<a>"], "temperature": 0.5, "top_k": 3}


async def test_wrong_adapter_is_refused(base: Store, creator: Creator, tmp_path: Path) -> None:
    lora = write_tiny_lora(tmp_path / "l.gguf", architecture="qwen2").read_bytes()
    recipe = Recipe(name="m", base="base", adapters={"l.gguf": await send(base, lora)})
    with pytest.raises(ServerError, match="is for 'qwen2'"):
        await made(creator, recipe)


# -- in another type


class Halver:
    """Writes other weights, as a quantizer does."""

    kinds: tuple[str, ...] = ("q8_0",)

    def __init__(self, fail: BaseException | None = None) -> None:
        self._fail = fail

    async def quantize(self, source: Path, target: Path, kind: str) -> None:
        assert source.is_file() and kind == "q8_0"
        if self._fail is not None:
            target.write_bytes(b"half")
            raise self._fail
        write_tiny_llama(target, seed=9)


async def test_quantized_weights_take_the_place_of_the_others(store: Store, tmp_path: Path) -> None:
    data = write_tiny_llama(tmp_path / "w.gguf").read_bytes()
    creator = Creator(store, quantizer=Halver())
    files = {"w.gguf": await send(store, data)}
    told = await made(creator, Recipe(name="m", files=files, quantize="Q8_0"))
    assert told[:2] == ["parsing GGUF", "quantizing F32 model to Q8_0"]
    assert told[2].startswith("creating new layer sha256:")
    new = store.get("m").check()[0]
    assert new.read_bytes() == write_tiny_llama(tmp_path / "9.gguf", seed=9).read_bytes()


async def test_quantizer_that_fails_leaves_nothing(store: Store, tmp_path: Path) -> None:
    data = write_tiny_llama(tmp_path / "w.gguf").read_bytes()
    files = {"w.gguf": await send(store, data)}
    before = blob_names(store.root)
    for error in (ServerError("no"), asyncio.CancelledError()):
        creator = Creator(store, quantizer=Halver(error))
        with pytest.raises(type(error)):
            await made(creator, Recipe(name="m", files=files, quantize="q8_0"))
    assert blob_names(store.root) == before
    assert store.list() == []


async def test_quantized_weights_are_not_quantized_again(base: Store) -> None:
    creator = Creator(base, quantizer=Halver())
    with pytest.raises(InvalidRequest, match="only supported for F16 and F32"):
        await made(creator, Recipe(name="m", base="base", quantize="q8_0"))


# -- whole or not at all

CREATE = """
import asyncio, os, sys
from pathlib import Path
from server.models import store as module
from server.models.create import Creator
from server.models.recipe import Recipe
from server.models.store import Store

count = [int(sys.argv[2])]

def audit(event, arguments):
    if event in ("os.rename", "os.remove", "os.link", "os.mkdir", "open") and alive:
        count[0] -= 1
        if count[0] == 0:
            os.kill(os.getpid(), 9)

async def main(store):
    recipe = Recipe(name="m", base="m", system="new", parameters={"top_k": 7})
    async for _ in Creator(store).create(recipe):
        pass

store = Store(Path(sys.argv[1]))
store.list()
alive = True
sys.addaudithook(audit)
asyncio.run(main(store))
"""


def kill_after(store: Store, number: int) -> int:
    """Run a create that is killed at its nth step on the file system; its exit code."""
    return subprocess.run([sys.executable, "-c", CREATE, str(store.root), str(number)]).returncode


def test_create_that_is_killed_leaves_the_old_or_the_new_model(
    store: Store, tmp_path: Path
) -> None:
    store.add_file("m", write_model(tmp_path / "m.gguf"), extras=Extras(system="old"))
    systems, number = set(), 1
    while kill_after(store, number) == -9:
        (model,) = Store(store.root).list()
        assert model.problem is None
        assert model.name.display() == "m:latest"
        assert all(one.exists() for one in map(store.blobs.path, blobs_of(store)))
        systems.add(model.system)
        number += 4
    assert systems == {"old", "new"}
    assert Store(store.root).get("m").parameters == {"top_k": 7}


def blobs_of(store: Store) -> list[str]:
    return [layer.digest for layer in store.manifest("m").blobs()]


def test_manifest_of_missing_blobs_is_not_written(store: Store, tmp_path: Path) -> None:
    store.add_file("m", write_model(tmp_path / "m.gguf"))
    manifest = store.manifest("m")
    store.blobs.path(manifest.layers[0].digest).unlink()
    with pytest.raises(BlobMissing, match="is not there"):
        store.commit(store.get("m").name, manifest.to_json())


async def test_progress_is_what_is_sent() -> None:
    assert msgspec.json.encode(Progress("success")) == b'{"status":"success"}'
