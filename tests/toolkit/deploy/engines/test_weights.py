"""What names a model of vLLM, and what it is called by clients."""

from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest

from server.models.name import ModelName
from tests.support.transformers_folder import make_weights
from toolkit.deploy.engines.weights import is_hub_name, model_name, served_name, subject_of
from toolkit.errors import UsageError


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "HuggingFaceTB/SmolLM2-135M-Instruct"),
        ("hf://org/m", "org/m"),
        ("hf.co/org/m", "org/m"),
        ("https://huggingface.co/org/m", "org/m"),
        ("gpt2", "gpt2"),
        ("org/m_1.5", "org/m_1.5"),
    ],
)
def test_names_on_hugging_face(text: str, name: str) -> None:
    assert model_name(text) == name
    assert served_name(name) == name


@pytest.mark.parametrize(
    "text",
    [
        *("", "smollm2:135m", "../m", "/nowhere", "a/b/c", "org/m.gguf/x", "org/..", "~/m", "-x"),
        *("org/m\n", "org /m", "s3://bucket/m", "https://example.org/m", "org--x/m", ".hidden/m"),
    ],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        model_name(text)
    assert "HuggingFaceTB" in caught.value.hint


def test_a_folder_becomes_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_weights(tmp_path / "org" / "m")
    monkeypatch.chdir(tmp_path)
    assert model_name("org/m") == model_name("./org/m") == str(folder)


@hypothesis.given(st.text(min_size=1))
def test_any_folder_has_a_name_that_clients_can_write(text: str) -> None:
    hypothesis.assume("/" not in text)
    name = served_name(f"/models/{text}")
    assert ModelName.parse(name).model == name


@hypothesis.given(st.text())
def test_a_name_never_leaves_its_place(text: str) -> None:
    if is_hub_name(text):
        assert not text.startswith(("/", "-", ".", "~")) and ".." not in text
        assert text.isprintable() and text.isascii()


async def test_a_model_in_hugging_faces_cache_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert await subject_of("org/m") is None
    make_weights(tmp_path / "hub" / "models--org--m" / "snapshots" / "abc")
    found = await subject_of("org/m")
    assert found is not None and found.weights_bytes == 32768


async def test_weights_that_cannot_be_read_are_not_known(tmp_path: Path) -> None:
    folder = make_weights(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    assert await subject_of(str(folder)) is None
    (folder / "config.json").write_text("no json")
    assert await subject_of(str(folder)) is None
