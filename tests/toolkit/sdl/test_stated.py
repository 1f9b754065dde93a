"""What names of models say of their size."""

import pytest

from toolkit.sdl.model import Service
from toolkit.sdl.stated import least_bytes, models, upstream

GB = 10**9


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("qwen2.5:7b", 3.5),
        ("smollm2:135m", 0),
        ("llama3.1:70b-instruct-q4_K_M", 35),
        ("mixtral:8x7b", 22.4),
        ("hf.co/someone/Model-1.5B-GGUF:Q8_0", 0.75),
        ("gpt-oss", 0),
        ("phi4b2", 0),
        ("b200", 0),
    ],
)
def test_gguf_has_half_a_byte_a_parameter(name: str, least: float) -> None:
    assert least_bytes(name, is_gguf=True) == int(least * GB)


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", 16),
        ("Qwen/Qwen3-235B-A22B-FP8", 235),
        ("TheBloke/Llama-2-70B-AWQ", 35),
        ("Qwen/Qwen2.5-0.5B", 1),
    ],
)
def test_transformers_have_two_bytes_unless_they_say_fewer(name: str, least: float) -> None:
    assert least_bytes(name, is_gguf=False) == int(least * GB)


@pytest.mark.parametrize(
    "service",
    [
        Service("i", env=("MODEL=a:7b",)),
        Service("i", env=("AKASH_LLM_PRELOAD=a:7b",)),
        Service("i", command=("vllm", "serve", "a:7b")),
        Service("i", command=("bash", "-c"), args=("vllm serve a:7b --port 8000",)),
        Service("i", args=("--model", "a:7b")),
        Service("i", args=("--model=a:7b",)),
    ],
)
def test_a_model_is_found_where_it_is_usually_said(service: Service) -> None:
    assert [name for name in models(service) if name] == ["a:7b"]


def test_ollama_serve_names_no_model() -> None:
    assert [name for name in models(Service("i", command=("ollama", "serve"))) if name] == []


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://llm:8000", "llm"),
        ("https://engine.example.com/", "engine.example.com"),
        ("llm:8000", ""),
        ("http://", ""),
        ("http://me@llm:8000", ""),
        ("http://llm:8000/v1", "llm"),
        ("", ""),
    ],
)
def test_who_has_the_models_of_a_gateway(url: str, host: str) -> None:
    assert upstream(Service("i", env=(f"AKASH_LLM_UPSTREAM={url}",))) == host


def test_who_names_no_upstream_has_its_models_itself() -> None:
    assert upstream(Service("i")) == ""
