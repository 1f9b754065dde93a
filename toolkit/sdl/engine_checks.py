"""What an engine that is not ours cannot do, alone or behind our gateway."""

import re
from typing import Final

from toolkit.sdl.inputs import GATEWAY_SERVICE, RenderInputs, Template
from toolkit.sdl.refusal import require

# A repository of Hugging Face, or a folder of the image.
_TRANSFORMERS = re.compile(r"/.*[^/].*|[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII | re.DOTALL)
# Arguments that hold what a secret is for, and those that the gateway relies on.
_SECRET_ARGUMENTS: Final = {
    "--api-key": "--api-key ac-secret://NAME",
    "--hf-token": "--env HF_TOKEN=ac-secret://NAME",
}
_OURS_TO_SAY: Final = frozenset({"--host", "--port", "--served-model-name", "--api-key"})


def check_engine(inputs: RenderInputs, template: Template) -> None:
    """Refuse what the engine of a template cannot be told: UsageError with the next step."""
    if template.engine == "vllm":
        _check_vllm(inputs)
    if inputs.engine_args:
        _check_arguments(inputs, template)
    if template.has_gateway:
        _check_gateway(inputs, template)


def _check_vllm(inputs: RenderInputs) -> None:
    require(
        _TRANSFORMERS.fullmatch(inputs.model),
        f"{inputs.model!r} is no model that vLLM could get",
        "write user/repo as on Hugging Face, such as --model Qwen/Qwen2.5-7B-Instruct",
    )
    require(
        inputs.service != "vllm",
        "a service called vllm does not start: Kubernetes puts its address into VLLM_PORT, where "
        "vLLM wants a number",
        "call it otherwise: --service llm",
    )


def _check_arguments(inputs: RenderInputs, template: Template) -> None:
    engine = "our server" if template.engine == "llama-cpp" else "Ollama"
    prefix = "AKASH_LLM" if template.engine == "llama-cpp" else "OLLAMA"
    require(
        template.has_arguments,
        f"{engine} takes variables, not arguments",
        f"write --env {prefix}_NAME=VALUE",
    )
    for word in inputs.engine_args:
        argument = word.partition("=")[0].replace("_", "-")
        require(
            not template.has_gateway or argument not in _OURS_TO_SAY,
            f"how the gateway asks its engine is no choice: {argument} belongs to that",
            "leave it out",
        )
        require(
            argument not in _SECRET_ARGUMENTS,
            f"what follows {argument} would stand in the file for all who read it",
            f"write the name of a secret: {_SECRET_ARGUMENTS.get(argument, '')}",
        )


def _check_gateway(inputs: RenderInputs, template: Template) -> None:
    plain = f"plain-{template.engine}" if template.engine == "vllm" else "llama-cpp"
    require(
        inputs.service != GATEWAY_SERVICE,
        f"the service before the engine is called {GATEWAY_SERVICE!r} already",
        "call the engine otherwise: --service llm",
    )
    require(
        not inputs.leased_ip,
        "a leased IP cannot stand beside a port that only the gateway reaches: the network's "
        "tools number it differently",
        f"leave it out, or use the template {plain}, which has one service",
    )
    require(
        inputs.tee != "cpu-gpu",
        "the gateway reads every prompt and has no GPU, and what is placed together has one kind "
        "of confidential hardware",
        f"write --tee cpu, or use the template {plain}, which has one service",
    )
    require(
        template.engine != "ollama" or inputs.count == 1,
        f"{inputs.count} replicas cannot be had: each Ollama has models of its own, and the "
        "gateway would pull into one of them only",
        "leave --count out, or use the template llama-cpp",
    )
