"""A stored model with a LoRA adapter, from its manifest to what it answers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.ollama_store import put_model
from tests.support.serving import Serving
from tests.support.tiny_llama import write_tiny_llama
from tests.support.tiny_lora import write_tiny_lora


def test_two_models_of_the_same_weights_and_another_adapter(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    weights = ("model", write_tiny_llama(tmp_path / "tiny.gguf").read_bytes())
    lora = ("adapter", write_tiny_lora(tmp_path / "lora.gguf").read_bytes())
    narrow = ("adapter", write_tiny_lora(tmp_path / "narrow.gguf", width=32).read_bytes())
    models = tmp_path / "models"
    for name, layers in {
        "plain": [weights],
        "tuned": [weights, lora],
        "misfit": [weights, narrow],
    }.items():
        put_model(models, f"registry.ollama.ai/library/{name}/latest", layers)

    args = ("--models", str(models), "--context", "256")
    with Serving(tmp_path, free_port(), args=args, fake=False) as server, server.client() as client:

        def generate(model: str) -> dict[str, Any]:
            options = {"temperature": 0, "num_predict": 12}
            asked = {"model": model, "prompt": "Once", "raw": True, "options": options}
            answer: dict[str, Any] = client.post(
                "/api/generate", json={**asked, "stream": False}
            ).json()
            return answer

        assert generate("plain")["response"] != generate("tuned")["response"]
        running = client.get("/api/ps").json()["models"]
        assert {model["name"] for model in running} == {"plain:latest", "tuned:latest"}
        shown = client.post("/api/show", json={"model": "tuned"}).json()
        assert "\nADAPTER " in shown["modelfile"]
        assert "incorrect shape" in generate("misfit")["error"]
