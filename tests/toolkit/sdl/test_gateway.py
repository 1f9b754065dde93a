"""The variables of a rendered gateway, given to a server in front of a stand-in for its vLLM."""

from collections.abc import Callable
from pathlib import Path

from server.keys import digest, generate_key
from tests.support.serving import Serving
from tests.support.vllm_stand_in import VLLMStandIn
from toolkit.sdl import GPURequest, RenderInputs, parse, render

MODEL = "Qwen/Qwen2.5-0.5B-Instruct"


def test_a_gateway_serves_what_its_sdl_says(tmp_path: Path, free_port: Callable[[], int]) -> None:
    key = generate_key()
    inputs = RenderInputs(
        image="ghcr.io/me/akash-llm-gateway:1",
        keys_text=f"me:inference:{digest(key)}",
        model=MODEL,
        gpu=GPURequest(),
    )
    services = parse(render(inputs, "vllm")).sdl.services
    args = services["llm"].args or ()
    served = args[args.index("--served-model-name") + 1]
    with VLLMStandIn(model=served) as vllm:
        env = {
            name: value.replace("http://llm:8000", vllm.url)
            for name, value in services["gateway"].environment.items()
        }
        # Ready means that the model which the SDL names has answered.
        place = ["--host", "127.0.0.1"]
        with (
            Serving(tmp_path, free_port(), args=place, env=env, fake=False) as server,
            server.client() as client,
        ):
            body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
            refused = client.post("/v1/chat/completions", json=body)
            assert refused.status_code == 401
            headers = {"Authorization": f"Bearer {key}"}
            answered = client.post("/v1/chat/completions", json=body, headers=headers)
            assert answered.status_code == 200
            assert answered.json()["model"] == MODEL
