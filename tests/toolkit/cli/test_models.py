"""`akash-llm models`, through the command line."""

import json
from pathlib import Path

import pytest

from tests.support.gguf_files import write_model
from toolkit.cli import run

Output = pytest.CaptureFixture[str]


@pytest.fixture
def gguf_file(tmp_path: Path) -> Path:
    return write_model(tmp_path / "given.gguf")


def models(*arguments: object) -> int:
    return run(["models", *map(str, arguments)])


def test_add_list_show_remove(akash_home: Path, gguf_file: Path, capsys: Output) -> None:
    license_file = gguf_file.with_name("LICENSE")
    license_file.write_text("MIT")
    assert (
        models("add", "mine", gguf_file, "--system", "Be kind.", "--license-file", license_file)
        == 0
    )
    assert capsys.readouterr().out == f"mine:latest is in {akash_home / 'models'}\n"
    assert models("list") == 0
    head, line = capsys.readouterr().out.splitlines()
    assert head.split() == ["NAME", "SIZE", "PARAMETERS", "QUANTIZATION"]
    assert line.split() == ["mine:latest", "0", "MB", "320", "Q4_1"]
    assert models("show", "MINE") == 0
    shown = capsys.readouterr().out
    assert "Be kind." in shown
    assert "MIT" in shown
    assert models("rm", "mine") == 0
    assert capsys.readouterr().out == "removed mine:latest\n"
    assert models("list") == 0
    assert "models pull smollm2:135m" in capsys.readouterr().out


def test_text_of_a_file_cannot_steer_the_terminal(tmp_path: Path, capsys: Output) -> None:
    hostile = {"general.description": "\x1b]0;title\x07", "tokenizer.chat_template.x": "\x1b[2J"}
    assert models("add", "m", write_model(tmp_path / "m.gguf", fields=hostile)) == 0
    assert models("show", "m") == 0
    assert models("show", "m", "--json") == 0
    assert "\x1b" not in capsys.readouterr().out


def test_json_is_one_object_a_line(gguf_file: Path, capsys: Output) -> None:
    assert models("add", "a", gguf_file, "--json") == 0
    added = json.loads(capsys.readouterr().out)
    assert (added["name"], added["problem"]) == ("a:latest", None)
    assert models("add", "b", gguf_file, "--json") == 0
    capsys.readouterr()
    assert models("list", "--json") == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["name"] for one in listed] == ["b:latest", "a:latest"]
    assert listed[0]["details"]["quantization_level"] == "Q4_1"
    assert listed[0]["capabilities"] == ["completion"]
    assert models("show", "a", "--verbose", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["model_info"]["tokenizer.ggml.tokens"] == ["<unk>", "a", "b"]
    assert shown["tensors"][0]["name"] == "weights"
    assert models("rm", "a", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"name": "a:latest", "removed": True}


def test_model_that_cannot_be_served_is_listed_with_the_reason(
    akash_home: Path, gguf_file: Path, capsys: Output
) -> None:
    assert models("add", "m", gguf_file) == 0
    for blob in (akash_home / "models" / "blobs").iterdir():
        if blob.stat().st_size == gguf_file.stat().st_size:
            blob.unlink()
    capsys.readouterr()
    assert models("list") == 0
    assert "cannot be served: its weights are missing" in capsys.readouterr().out


def test_pull_of_what_is_there(stocked_home: Path, capsys: Output) -> None:
    assert models("pull", "SmolLM2:135M") == 0
    assert capsys.readouterr().out == f"smollm2:135m is in {stocked_home / 'models'}\n"
    assert models("pull", "smollm2:135m", "--json") == 0
    assert json.loads(capsys.readouterr().out)["details"]["parameter_size"] == "134.52M"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("pull", "evil.test/a/b"), 3, "models may not be pulled from evil.test"),
        (("pull", "m", "--registries", "hf.co"), 3, "may not be pulled from registry.ollama.ai"),
        (("pull", "m", "--registries", "ftp://x"), 2, "--registries: expected a host"),
        (("pull", "../x"), 2, 'name "../x" is invalid'),
        (("pull", "hf://x"), 2, "names no file of Hugging Face"),
        (("create", "m", "-f", "none"), 2, "none cannot be read as text"),
        (("cp", "none", "x"), 2, 'model "none" not found'),
        (("verify", "none"), 2, "model 'none' not found"),
        (("show", "none"), 2, "model 'none' not found"),
        (("rm", "none"), 2, "model 'none' not found"),
        (("add", "m", "none.gguf"), 3, "none.gguf does not exist"),
        (("add", "m", "."), 3, "is not a file"),
        (("add", "a b", "none.gguf"), 2, 'name "a b" is invalid'),
        (("add", "m", "none.gguf", "--license-file", "none"), 2, "none cannot be read as text"),
    ],
)
def test_mistakes_end_in_one_message_with_the_next_step(
    arguments: tuple[str, ...], code: int, message: str, akash_home: Path, capsys: Output
) -> None:
    assert models(*arguments) == code
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert not akash_home.exists()


def test_file_that_is_cut_short_is_refused(gguf_file: Path, capsys: Output) -> None:
    gguf_file.write_bytes(gguf_file.read_bytes()[:-1])
    assert models("add", "m", gguf_file) == 3
    error = capsys.readouterr().err
    assert "given.gguf is cut short" in error
    assert "copy it again" in error


def test_store_that_cannot_be_written(akash_home: Path, gguf_file: Path, capsys: Output) -> None:
    akash_home.write_bytes(b"in the way")
    assert models("add", "m", gguf_file) == 3
    assert "cannot be changed" in capsys.readouterr().err
