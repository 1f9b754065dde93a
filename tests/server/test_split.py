"""Weights in several files, from the store to what they answer, and in another type."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from server.engine.config import EngineConfig
from server.engine.memory import needed
from server.engine.quantizer import Quantizer
from server.engine.requantizer import Requantizer
from server.errors import LoadFailed
from server.models.create import Creator
from server.models.manifest import digest_of
from server.models.recipe import Recipe
from server.models.splits import part_paths
from server.models.store import Store
from server.models.uploads import upload
from tests.support.ollama_store import put_model
from tests.support.serving import Serving
from tests.support.tiny_llama import write_tiny_llama
from tests.support.tiny_split import write_tiny_split

LIBRARY = "registry.ollama.ai/library"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A store with the same weights in one file, in three, and in three of which one is lost."""
    root = tmp_path / "models"
    parts = [path.read_bytes() for path in write_tiny_split(tmp_path)]
    whole = write_tiny_llama(tmp_path / "whole.gguf").read_bytes()
    put_model(root, f"{LIBRARY}/whole/latest", [("model", whole)])
    put_model(root, f"{LIBRARY}/split/latest", [("model", part) for part in parts])
    put_model(root, f"{LIBRARY}/less/latest", [("model", part) for part in parts[:2]])
    return root


def test_split_weights_answer_as_whole_ones(
    models: Path, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    args = ("--models", str(models), "--context", "256")
    with Serving(tmp_path, free_port(), args=args, fake=False) as server, server.client() as client:

        def generate(model: str) -> dict[str, Any]:
            options = {"temperature": 0, "num_predict": 12}
            asked = {"model": model, "prompt": "Once", "raw": True, "options": options}
            answer: dict[str, Any] = client.post(
                "/api/generate", json={**asked, "stream": False}
            ).json()
            return answer

        assert generate("split")["response"] == generate("whole")["response"]
        assert "not the parts of one model" in generate("less")["error"]
        sizes = {model["name"]: model["size"] for model in client.get("/api/ps").json()["models"]}
        assert set(sizes) == {"split:latest", "whole:latest"}
        shown = client.post("/api/show", json={"model": "split", "verbose": True}).json()
        assert len(shown["tensors"]) == 21
        assert shown["details"]["parameter_size"] == "116K"


def test_parts_go_with_their_model(models: Path) -> None:
    store = Store(models)
    links = models / ".akash-llm" / "splits"
    store.list()
    assert len(list(links.iterdir())) == 3
    made = store.requantized / f"{links_hex(links)}-q8_0-x.gguf"
    made.parent.mkdir()
    made.write_bytes(b"")
    store.remove("less")
    assert len(list(links.iterdir())) == 3
    store.remove("split")
    assert list(links.iterdir()) == []
    assert not made.exists()
    assert store.get("whole").problem is None


def links_hex(links: Path) -> str:
    return next(links.iterdir()).name.removeprefix("sha256-")[:64]


def test_links_that_are_wrong_are_made_anew(models: Path) -> None:
    links = models / ".akash-llm" / "splits"
    weights = Store(models).get("split").check()[0]
    second = next(links.glob("*-00002-of-00003.gguf"))
    second.unlink()
    second.symlink_to("/nowhere")
    assert Store(models).get("split").check()[0] == weights
    assert second.exists()


def test_store_that_cannot_be_written_to_says_why(models: Path) -> None:
    (models / ".akash-llm").write_bytes(b"in the way")
    problem = Store(models).get("split").problem
    assert problem is not None and "cannot be linked together" in problem
    assert Store(models).get("whole").problem is None


async def test_split_weights_can_be_rewritten(models: Path, tmp_path: Path) -> None:
    files = Store(models).get("split").files()
    made = await Requantizer(tmp_path / "made", "q8_0").prepare(files)
    assert made.weights.name.startswith(links_hex(models / ".akash-llm" / "splits"))
    header = Store(models).header(made.weights)
    assert (header.tensor_count, header.quantization_level) == (21, "Q8_0")


def test_memory_is_told_from_all_parts(models: Path) -> None:
    store, config = Store(models), EngineConfig(context=256)
    split, whole = (needed(store.get(name).files(), config) for name in ("split", "whole"))
    parts = sum(path.stat().st_size for path in part_paths(store.get("split").check()[0]))
    assert split - whole == parts - store.get("whole").check()[1].file_size


# -- quantize of a create request


async def create(store: Store, path: Path, kind: str) -> list[str]:
    data = await asyncio.to_thread(path.read_bytes)

    async def chunks() -> AsyncIterator[bytes]:
        yield data

    await upload(store, digest_of(data), chunks())
    recipe = Recipe(name="m", files={"m.gguf": digest_of(data)}, quantize=kind)
    creator = Creator(store, quantizer=Quantizer())
    return [step.status async for step in creator.create(recipe)]


@pytest.mark.parametrize("kind", ["q8_0", "Q4_0", "q4_K_M"])
async def test_engine_quantizes_for_create(tmp_path: Path, kind: str) -> None:
    store = Store(tmp_path / "models")
    told = await create(store, write_tiny_llama(tmp_path / "f32.gguf"), kind)
    assert told[1] == f"quantizing F32 model to {kind.upper()}"
    model = store.get("m")
    assert model.problem is None
    assert model.details.quantization_level == kind.upper()
    assert model.size < (tmp_path / "f32.gguf").stat().st_size


async def test_reason_of_a_failure_is_told(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(LoadFailed, match="cannot be quantized to q8_0: "):
        await Quantizer().quantize(broken, tmp_path / "out.gguf", "q8_0")
