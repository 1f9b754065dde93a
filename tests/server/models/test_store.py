"""The model store: one made by Ollama, one made here, and whatever may go wrong."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.errors import ModelNotFound, ModelUnusable, ServerError, StorageFull
from server.models import store
from server.models.extras import Extras
from server.models.manifest import Message
from server.models.model_files import Adapter, ModelFiles
from server.models.name import InvalidModelName
from server.models.store import Store
from tests.support.gguf_files import write_model
from tests.support.ollama_store import blob_names, put_model
from tests.support.tiny_lora import write_tiny_lora
from tests.support.tiny_vision import write_tiny_projector

LIBRARY = "registry.ollama.ai/library"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def weights(tmp_path: Path) -> bytes:
    return write_model(tmp_path / "w.gguf").read_bytes()


@pytest.fixture
def gguf_file(tmp_path: Path) -> Path:
    return write_model(tmp_path / "given.gguf")


# -- a store that Ollama made


def test_model_of_ollama_is_read_whole(root: Path, weights: bytes, tmp_path: Path) -> None:
    projector = write_tiny_projector(tmp_path / "projector.gguf").read_bytes()
    layers = [
        ("model", weights),
        ("template", b"{{ .Prompt }}"),
        ("system", b"Be brief."),
        ("params", b'{"stop":["<a>","<b>"],"temperature":0.5}'),
        ("messages", b'[{"role":"user","content":"hi"}]'),
        ("license", b"MIT"),
        ("license", b"Apache-2.0"),
        ("projector", projector),
    ]
    config = {"model_format": "gguf", "model_family": "llama", "model_families": ["llama", "clip"]}
    path = put_model(root, f"{LIBRARY}/m/7b", layers, config)
    model = Store(root).get("m:7b")
    assert model.problem is None
    assert model.check()[0].read_bytes() == weights
    assert model.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    config_bytes = len(json.dumps(config))
    assert model.size == sum(len(data) for _, data in layers) + config_bytes
    assert (model.template, model.system) == ("{{ .Prompt }}", "Be brief.")
    assert model.parameters == {"stop": ["<a>", "<b>"], "temperature": 0.5}
    assert model.messages == (Message("user", "hi"),)
    assert model.license_text == "MIT\nApache-2.0"
    assert model.projector is not None
    assert model.projector.read_bytes() == projector
    assert model.projector_info()["general.architecture"] == "clip"
    assert model.files().projector == model.projector
    assert model.capabilities == ("completion", "vision")
    assert model.details.families == ["llama", "clip"]
    assert model.details.parameter_size == "320"
    assert model.template_text == "{{ .Prompt }}"
    assert "PARAMETER stop <a>" in model.modelfile_text
    assert 'stop                           "<a>"' in model.parameters_text


def test_template_of_the_file_stands_in_where_there_is_no_layer(root: Path, weights: bytes) -> None:
    put_model(root, f"{LIBRARY}/m/latest", [("model", weights)])
    model = Store(root).get("m")
    assert model.template is None
    assert model.template_text == "{{ messages }}"


def test_model_info_follows_ollamas_rules(root: Path, tmp_path: Path) -> None:
    tokens = [f"t{number}" for number in range(2000)]
    fields = {"general.name": "secret name", "x.kept": [1, 2]}
    data = write_model(tmp_path / "m.gguf", tokens=tokens, fields=fields).read_bytes()
    put_model(root, f"{LIBRARY}/m/latest", [("model", data)])
    model = Store(root).get("m")
    info = model.model_info()
    assert list(info) == sorted(info)
    assert info["general.architecture"] == "llama"
    assert info["general.parameter_count"] == 320
    assert info["llama.context_length"] == 512
    assert info["tokenizer.ggml.tokens"] is None
    assert info["x.kept"] == [1, 2]
    assert "general.name" not in info
    assert "tokenizer.chat_template" not in info
    assert model.model_info(verbose=True)["tokenizer.ggml.tokens"] == tokens
    assert model.tensors()[0] == {"name": "weights", "type": "Q4_1", "shape": [64, 4]}


def test_time_is_local_with_nanoseconds(
    root: Path, weights: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put_model(root, f"{LIBRARY}/m/latest", [("model", weights)])
    os.utime(path, ns=(0, 1_700_000_000_123_456_789))
    model = Store(root).get("m")
    assert model.modified_ns == 1_700_000_000_123_456_789
    assert ".123456789" in model.modified_text
    assert model.modified_text[:19] == model.modified_at.isoformat()[:19]
    assert model.modified_at.utcoffset() is not None


def test_models_are_listed_newest_first(root: Path, weights: bytes) -> None:
    for age, name in enumerate(
        [f"{LIBRARY}/new/latest", "hf.co/user/middle/Q4", f"{LIBRARY}/old/1b"]
    ):
        path = put_model(root, name, [("model", weights)])
        os.utime(path, ns=(0, (100 - age) * 10**9))
    names = [model.name.display() for model in Store(root).list()]
    assert names == ["new:latest", "hf.co/user/middle:Q4", "old:1b"]


def test_names_are_found_in_any_case(root: Path, weights: bytes) -> None:
    put_model(root, f"{LIBRARY}/LLaMA3/8B", [("model", weights)])
    opened = Store(root)
    assert opened.get("llama3:8b").name.display() == "LLaMA3:8B"
    with pytest.raises(ModelNotFound, match="model 'llama3' not found") as caught:
        opened.get("llama3")
    assert "models list" in caught.value.hint
    with pytest.raises(InvalidModelName):
        opened.get("../llama3")


def test_exact_case_is_preferred(root: Path, weights: bytes) -> None:
    put_model(root, f"{LIBRARY}/M/latest", [("model", weights)])
    put_model(root, f"{LIBRARY}/m/latest", [("model", weights)])
    assert {Store(root).get(name).name.model for name in ("M", "m")} == {"M", "m"}


def test_files_that_are_no_manifests_are_passed_over(root: Path, weights: bytes) -> None:
    path = put_model(root, f"{LIBRARY}/m/latest", [("model", weights)])
    (path.parent / ".DS_Store").write_bytes(b"x")
    (path.parent / "folder").mkdir()
    (path.parent.parent / "stray").write_bytes(b"x")
    assert len(Store(root).list()) == 1


def test_store_that_is_not_there_is_empty(root: Path) -> None:
    assert Store(root).list() == []
    with pytest.raises(ModelNotFound):
        Store(root).get("m")
    with pytest.raises(ModelNotFound):
        Store(root).remove("m")
    assert not root.exists()


@pytest.mark.parametrize(
    ("layers", "remote", "problem"),
    [
        ([("template", b"x")], "", "no GGUF weights"),
        ([("tensor", b"x"), ("tensor", b"y")], "", "no GGUF weights"),
        ([("model", b"x"), ("model", b"y")], "", "not a GGUF file"),
        ([("model", b"x")], "", "not a GGUF file"),
        ([], "far.away", "it runs at far.away"),
    ],
)
def test_model_that_cannot_be_served_is_listed_with_the_reason(
    root: Path, weights: bytes, layers: list[tuple[str, bytes]], remote: str, problem: str
) -> None:
    put_model(root, f"{LIBRARY}/good/latest", [("model", weights)])
    config = {"remote_host": remote, "model_type": "8.0B"}
    put_model(root, f"{LIBRARY}/bad/latest", layers, config)
    by_name = {model.name.model: model for model in Store(root).list()}
    assert by_name["good"].problem is None
    bad = by_name["bad"]
    assert bad.problem is not None
    assert problem in bad.problem
    assert bad.capabilities == ()
    assert bad.details.parameter_size == "8.0B"
    with pytest.raises(ModelUnusable, match="bad:latest cannot be served"):
        bad.check()
    assert bad.model_info() == {}
    assert bad.modelfile_text


@pytest.mark.parametrize("kind", ["template", "system", "params", "messages"])
def test_layer_that_is_missing_is_a_problem(root: Path, weights: bytes, kind: str) -> None:
    """Without it the model would answer otherwise than it should."""
    data = b'{"a": 1}' if kind == "params" else b"[]"
    put_model(root, f"{LIBRARY}/m/latest", [("model", weights), (kind, data)])
    blob = root / "blobs" / f"sha256-{hashlib.sha256(data).hexdigest()}"
    assert Store(root).get("m").problem is None
    blob.write_bytes(b"\xff")
    damaged = Store(root).get("m")
    assert damaged.problem is not None
    assert repr(kind) in damaged.problem
    blob.unlink()
    assert Store(root).get("m").problem == damaged.problem


def test_license_that_is_missing_is_no_problem(root: Path, weights: bytes) -> None:
    put_model(root, f"{LIBRARY}/m/latest", [("model", weights), ("license", b"MIT")])
    (root / "blobs" / f"sha256-{hashlib.sha256(b'MIT').hexdigest()}").unlink()
    model = Store(root).get("m")
    assert (model.problem, model.license_text) == (None, "")


def test_weights_that_change_are_looked_at_again(root: Path, weights: bytes) -> None:
    put_model(root, f"{LIBRARY}/m/latest", [("model", weights)])
    opened = Store(root)
    path, _ = opened.get("m").check()
    path.write_bytes(weights[:-1])
    problem = opened.get("m").problem
    assert problem is not None
    assert "cut short" in problem
    path.write_bytes(weights + b"x")
    problem = opened.get("m").problem
    assert problem is not None
    assert "instead of" in problem
    path.unlink()
    assert opened.get("m").problem == "its weights are missing"
    path.write_bytes(weights)
    assert opened.get("m").problem is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"config": {"mediaType": "x", "digest": "sha256:../../etc/passwd"}}',
        b'{"config": {"mediaType": "x", "digest": "md5:00"}}',
    ],
)
def test_damaged_manifest_is_listed_and_can_be_removed(
    root: Path, weights: bytes, data: bytes
) -> None:
    path = put_model(root, f"{LIBRARY}/m/latest", [("model", weights)])
    path.write_bytes(data)
    opened = Store(root)
    (model,) = opened.list()
    assert model.problem is not None
    assert "manifest" in model.problem
    opened.remove("m")
    assert opened.list() == []


def adapter(tmp_path: Path, **change: str) -> bytes:
    """The bytes of a LoRA adapter."""
    return write_tiny_lora(tmp_path / "lora.gguf", **change).read_bytes()  # type: ignore[arg-type]


def test_adapters_are_loaded_with_their_weights(root: Path, weights: bytes, tmp_path: Path) -> None:
    lora = adapter(tmp_path)
    put_model(root, f"{LIBRARY}/plain/latest", [("model", weights)])
    put_model(root, f"{LIBRARY}/m/latest", [("model", weights), ("adapter", lora)])
    model, plain = Store(root).get("m"), Store(root).get("plain")
    path = root / "blobs" / f"sha256-{hashlib.sha256(lora).hexdigest()}"
    assert model.adapters == (path,)
    assert model.files() == ModelFiles(plain.files().weights, (Adapter(path),))
    assert model.size > plain.size and model.capabilities == plain.capabilities
    assert f"FROM {model.weights}\nADAPTER {path}\n" in model.modelfile_text


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"architecture": "qwen2"}, "its LoRA adapter is for 'qwen2', its weights are 'llama'"),
        ({"kind": "dora"}, "its LoRA adapter is something else"),
        (None, "not a GGUF file"),
    ],
)
def test_an_adapter_that_cannot_be_one_is_told(
    root: Path, weights: bytes, tmp_path: Path, change: dict[str, str] | None, told: str
) -> None:
    data = b"junk" if change is None else adapter(tmp_path, **change)
    put_model(root, f"{LIBRARY}/m/latest", [("model", weights), ("adapter", data)])
    model = Store(root).get("m")
    assert model.problem is not None and told in model.problem
    with pytest.raises(ModelUnusable):
        model.files()


def test_a_lost_adapter_is_told(root: Path, weights: bytes, tmp_path: Path) -> None:
    put_model(root, f"{LIBRARY}/m/latest", [("model", weights), ("adapter", adapter(tmp_path))])
    (lost,) = Store(root).get("m").adapters
    lost.unlink()
    assert Store(root).get("m").problem == "its LoRA adapters are missing"


@pytest.mark.parametrize(
    ("projector", "told"),
    [(None, "its projector is something else"), (b"junk", "not a GGUF file")],
)
def test_a_projector_that_cannot_be_one_is_told(
    root: Path, weights: bytes, projector: bytes | None, told: str
) -> None:
    layers = [("model", weights), ("projector", projector or weights)]
    put_model(root, f"{LIBRARY}/m/latest", layers)
    model = Store(root).get("m")
    assert model.problem is not None and told in model.problem
    assert model.capabilities == ()


def test_a_projector_that_looks_at_the_whole_prompt_is_told(
    root: Path, weights: bytes, tmp_path: Path
) -> None:
    fields = {"clip.projector_type": "hunyuanvl"}
    projector = write_model(tmp_path / "p.gguf", architecture="clip", fields=fields).read_bytes()
    put_model(root, f"{LIBRARY}/m/latest", [("model", weights), ("projector", projector)])
    assert "of the kind 'hunyuanvl'" in (Store(root).get("m").problem or "")


def test_a_lost_projector_is_told(root: Path, weights: bytes, tmp_path: Path) -> None:
    projector = write_tiny_projector(tmp_path / "projector.gguf").read_bytes()
    put_model(root, f"{LIBRARY}/m/latest", [("model", weights), ("projector", projector)])
    lost = Store(root).get("m").projector
    assert lost is not None
    lost.unlink()
    assert Store(root).get("m").problem == "its projectors are missing"


def test_weights_in_another_type_go_with_the_weights(root: Path, weights: bytes) -> None:
    put_model(root, f"{LIBRARY}/m/latest", [("model", weights)])
    store = Store(root)
    store.requantized.mkdir(parents=True)
    sha256 = hashlib.sha256(weights).hexdigest()
    ours = [store.requantized / f"{sha256}-q8_0-x.{end}" for end in ("gguf", "json")]
    other = store.requantized / f"{'0' * 64}-q8_0-x.gguf"
    for path in (*ours, other):
        path.write_bytes(b"")
    store.remove("m")
    assert [path.exists() for path in (*ours, other)] == [False, False, True]


def test_headers_are_remembered_beside_the_store(
    root: Path, weights: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading a header of a large vocabulary takes too long for every list."""
    put_model(root, f"{LIBRARY}/m/latest", [("model", weights)])
    first = Store(root).get("m")

    def refuse(path: Path) -> None:
        raise AssertionError(f"{path} was read again")

    monkeypatch.setattr("server.models.headers.read_header", refuse)
    assert Store(root).get("m").header == first.header


def test_damaged_memory_of_headers_is_made_anew(root: Path, weights: bytes) -> None:
    put_model(root, f"{LIBRARY}/m/latest", [("model", weights)])
    Store(root).get("m")
    (remembered,) = (root / ".akash-llm" / "headers").iterdir()
    good = remembered.read_bytes()
    for data in (b"", b"{}", good.replace(b'"version":1', b'"version":0', 1)):
        remembered.write_bytes(data)
        assert Store(root).get("m").problem is None
        assert remembered.read_bytes() == good


def test_store_where_nothing_can_be_remembered_can_be_read(root: Path, weights: bytes) -> None:
    put_model(root, f"{LIBRARY}/m/latest", [("model", weights)])
    (root / ".akash-llm").write_bytes(b"in the way")
    assert Store(root).get("m").problem is None


# -- adding


def test_file_is_added_with_all_its_layers(root: Path, gguf_file: Path) -> None:
    seen: list[tuple[int, int]] = []
    extras = Extras(
        system="Be brief.",
        template="{{ .Prompt }}",
        params={"stop": ["<a>"]},
        messages=(Message("user", "hi"),),
        licenses=("MIT",),
    )
    model = Store(root).add_file(
        "User/M:x", gguf_file, extras=extras, progress=lambda *done: seen.append(done)
    )
    size = gguf_file.stat().st_size
    assert seen[-1] == (size, size)
    again = Store(root).get("user/m:X")
    assert again == model
    assert again.name.display() == "User/M:x"
    assert again.check()[0].read_bytes() == gguf_file.read_bytes()
    assert (again.system, again.template) == ("Be brief.", "{{ .Prompt }}")
    assert again.parameters == {"stop": ["<a>"]}
    assert again.messages == (Message("user", "hi"),)
    assert again.licenses == ("MIT",)
    assert gguf_file.exists()


def test_what_is_written_is_what_ollama_reads(root: Path, gguf_file: Path) -> None:
    Store(root).add_file("m", gguf_file, extras=Extras(params={"stop": ["<a>"]}))
    path = root / "manifests" / LIBRARY / "m" / "latest"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    assert manifest["schemaVersion"] == 2
    assert manifest["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    kinds = [layer["mediaType"].rpartition(".")[2] for layer in manifest["layers"]]
    assert kinds == ["model", "params"]
    for layer in [manifest["config"], *manifest["layers"]]:
        data = (root / "blobs" / layer["digest"].replace(":", "-")).read_bytes()
        assert layer["size"] == len(data)
        assert layer["digest"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
    blob = root / "blobs" / manifest["config"]["digest"].replace(":", "-")
    config = json.loads(blob.read_bytes())
    assert config["model_format"] == "gguf"
    assert (config["model_family"], config["file_type"]) == ("llama", "Q4_1")
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]


def test_same_name_is_replaced_and_its_old_files_go(root: Path, tmp_path: Path) -> None:
    opened = Store(root)
    opened.add_file("m", write_model(tmp_path / "1.gguf", seed=1), extras=Extras(system="old"))
    before = blob_names(root)
    model = opened.add_file("M", write_model(tmp_path / "2.gguf", seed=2))
    assert [one.name.display() for one in opened.list()] == ["m:latest"]
    assert model.system is None
    assert len(blob_names(root)) == 2
    assert len(before) == 3


def test_adding_the_same_again_changes_nothing(root: Path, gguf_file: Path) -> None:
    opened = Store(root)
    first = opened.add_file("m", gguf_file)
    names = blob_names(root)
    assert opened.add_file("m", gguf_file).digest == first.digest
    assert blob_names(root) == names


def test_two_names_share_one_file(root: Path, gguf_file: Path) -> None:
    opened = Store(root)
    opened.add_file("a", gguf_file)
    opened.add_file("b", gguf_file)
    assert len(blob_names(root)) == 2
    opened.remove("a")
    assert opened.get("b").problem is None
    opened.remove("b")
    assert blob_names(root) == set()
    assert list((root / "manifests").iterdir()) == []
    assert list((root / ".akash-llm" / "headers").iterdir()) == []


def test_nothing_is_removed_while_a_manifest_cannot_be_read(root: Path, gguf_file: Path) -> None:
    """It may name the blobs that nobody else names."""
    opened = Store(root)
    opened.add_file("a", gguf_file)
    damaged = put_model(root, f"{LIBRARY}/b/latest", [])
    damaged.write_bytes(b"{")
    names = blob_names(root)
    opened.remove("a")
    assert blob_names(root) == names


@pytest.mark.parametrize(
    ("fields", "architecture", "why"),
    [
        ({"split.count": 3}, "llama", "one of 3 parts"),
        ({"general.type": "adapter"}, "llama", "not a model but adapter"),
        ({}, "clip", "not a model but a projector"),
    ],
)
def test_file_that_is_no_whole_model_is_refused(
    root: Path, tmp_path: Path, fields: dict[str, object], architecture: str, why: str
) -> None:
    path = write_model(tmp_path / "m.gguf", fields=fields, architecture=architecture)
    with pytest.raises(ModelUnusable, match=why) as caught:
        Store(root).add_file("m", path)
    assert caught.value.hint
    assert not root.exists()


def test_file_that_is_cut_short_is_refused_before_it_is_copied(root: Path, gguf_file: Path) -> None:
    gguf_file.write_bytes(gguf_file.read_bytes()[:-1])
    with pytest.raises(ModelUnusable, match=r"given\.gguf is cut short"):
        Store(root).add_file("m", gguf_file)
    assert not root.exists()


def test_source_that_ends_early_leaves_nothing(root: Path, weights: bytes) -> None:
    with pytest.raises(ModelUnusable, match="stream is cut short"):
        Store(root).add_chunks("m", [weights[:-1]], len(weights), source="stream")
    assert blob_names(root) == set()
    assert Store(root).list() == []


def test_source_that_fails_leaves_nothing(root: Path, weights: bytes) -> None:
    def chunks() -> Iterator[bytes]:
        yield weights[:100]
        raise ConnectionResetError("gone")

    with pytest.raises(ServerError, match="gone"):
        Store(root).add_chunks("m", chunks(), len(weights), source="stream")
    assert blob_names(root) == set()


def test_no_room_is_said_before_anything_is_written(
    root: Path, gguf_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(StorageFull, match="no space left") as caught:
        Store(root).add_file("m", gguf_file)
    assert caught.value.status == 507
    assert "AKASH_LLM_HOME" in caught.value.hint
    assert blob_names(root) == set()
    assert Store(root).list() == []


def test_blobs_are_taken_back_when_the_manifest_fails(
    root: Path, gguf_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "replace_file", full)
    with pytest.raises(StorageFull):
        Store(root).add_file("m", gguf_file)
    assert blob_names(root) == set()


def test_folder_that_is_a_file_is_told(tmp_path: Path, gguf_file: Path) -> None:
    (tmp_path / "models").write_bytes(b"")
    with pytest.raises(ServerError, match="cannot be changed") as caught:
        Store(tmp_path / "models").add_file("m", gguf_file)
    assert caught.value.hint


# -- several processes

ADD = """
import sys
from pathlib import Path
from server.models.store import Store
store = Store(Path(sys.argv[1]))
for round in range(5):
    for name in sys.argv[3:]:
        store.add_file(name, Path(sys.argv[2]))
        store.remove(name)
    store.add_file("shared", Path(sys.argv[2]))
"""

STOP_HALFWAY = """
import os, sys
from pathlib import Path
from server.models.store import Store
def die(done, size):
    os.kill(os.getpid(), 9)
Store(Path(sys.argv[1])).add_file("m", Path(sys.argv[2]), progress=die)
"""


def python(program: str, *arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)])


def test_processes_add_and_remove_at_once(root: Path, gguf_file: Path) -> None:
    """They share one file of weights: a removal must not take it from an addition."""
    processes = [python(ADD, root, gguf_file, f"own{number}") for number in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    (model,) = Store(root).list()
    assert model.name.display() == "shared:latest"
    assert model.problem is None
    assert len(blob_names(root)) == 2


def test_what_a_killed_process_left_is_swept_by_the_next(root: Path, gguf_file: Path) -> None:
    assert python(STOP_HALFWAY, root, gguf_file).wait(60) == -9
    assert len(blob_names(root)) == 1
    assert Store(root).list() == []
    Store(root).add_file("m", gguf_file)
    assert not any(name.startswith("draft-") for name in blob_names(root))
    assert Store(root).get("m").problem is None


def test_draft_of_a_living_process_is_not_swept(
    root: Path, weights: bytes, gguf_file: Path
) -> None:
    def chunks() -> Iterator[bytes]:
        yield weights[:100]
        Store(root).add_file("other", gguf_file)
        yield weights[100:]

    Store(root).add_chunks("m", chunks(), len(weights), source="stream")
    assert len(Store(root).list()) == 2
