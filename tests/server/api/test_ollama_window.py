"""How long Ollama's replies get, and what they count: the window, its shifts, the defaults."""

from typing import Any

import httpx2
import pytest

from server.api.options import resolve

CONTEXT = 256
LEGACY = (
    "tfs_z", "mirostat", "mirostat_tau", "mirostat_eta", "penalize_newline", "numa", "num_gqa",
    "low_vram", "f16_kv", "logits_all", "vocab_only", "use_mlock", "embedding_only",
    "rope_frequency_base", "rope_frequency_scale", "draft_num_predict", "nonsense",
)  # fmt: skip
DEFAULTS = {
    "top_k": 40, "top_p": 0.9, "min_p": 0.0, "typical_p": 1.0, "repeat_last_n": 64,
    "temperature": 0.8, "repeat_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0,
}  # fmt: skip


def generate(client: httpx2.Client, prompt: str = "⟦ab⟧", **body: Any) -> Any:
    options = {"ignore_eos": True, **body.pop("options", {})}
    asked = {"model": "m", "prompt": prompt, "stream": False, "options": options, **body}
    return client.post("/api/generate", json=asked).json()


def test_without_a_shift_a_full_window_is_the_end(client: httpx2.Client) -> None:
    reply = generate(client, shift=False, options={"num_predict": 5000})
    assert reply["done_reason"] == "length" and "shifted" not in reply
    assert abs(reply["prompt_eval_count"] + reply["eval_count"] - CONTEXT) <= 1


def test_with_a_shift_it_goes_on(client: httpx2.Client) -> None:
    reply = generate(client, options={"num_predict": CONTEXT + 50})
    assert (reply["done_reason"], reply["eval_count"]) == ("length", CONTEXT + 50)
    assert reply["shifted"] > 0


@pytest.mark.parametrize("num_predict", [-1, -2, 100_000, None])
def test_ten_windows_are_the_most(client: httpx2.Client, num_predict: int | None) -> None:
    reply = generate(client, options={"num_predict": num_predict, "num_ctx": 48})
    assert (reply["done_reason"], reply["eval_count"]) == ("length", 480)


def test_what_was_computed_before_counts_too(client: httpx2.Client) -> None:
    counts = {generate(client, options={"num_predict": 1})["prompt_eval_count"] for _ in range(3)}
    assert len(counts) == 1


@pytest.mark.parametrize("name", LEGACY)
@pytest.mark.parametrize("value", [1, None])
def test_old_and_unknown_options_are_taken(
    client: httpx2.Client, name: str, value: int | None
) -> None:
    is_flag = name in ("numa", "low_vram", "f16_kv", "vocab_only", "use_mlock", "penalize_newline")
    given = bool(value) if is_flag and value is not None else value
    assert generate(client, options={"num_predict": 1, name: given})["response"] == "a"


def test_defaults() -> None:
    """Ollama's, field by field; a seed of -1 is drawn."""
    sampling = resolve().sampling
    assert {name: getattr(sampling, name) for name in DEFAULTS} == DEFAULTS
    assert sampling.seed is None
