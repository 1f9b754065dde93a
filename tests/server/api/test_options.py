"""Options: every documented one is accepted; what each becomes."""

from typing import Any

import httpx2
import pytest

from server.api.options import LLAMA_OPTIONS, OLLAMA_OPTIONS, Options, parse_ollama, resolve
from server.errors import InvalidRequest

DOCUMENTED = [
    "num_keep", "seed", "num_predict", "top_k", "top_p", "min_p", "tfs_z", "typical_p",
    "repeat_last_n", "temperature", "repeat_penalty", "presence_penalty", "frequency_penalty",
    "mirostat", "mirostat_tau", "mirostat_eta", "penalize_newline", "stop", "numa", "num_ctx",
    "num_batch", "num_gpu", "main_gpu", "low_vram", "f16_kv", "vocab_only", "use_mmap",
    "use_mlock", "num_thread",
]  # fmt: skip
VALUES: dict[str, Any] = {
    "stop": ["x"],
    **dict.fromkeys(["numa", "low_vram", "f16_kv", "vocab_only", "use_mmap", "use_mlock"], True),
    "penalize_newline": False,
}


def sampling(**values: Any) -> Any:
    options, _ = parse_ollama(values)
    return resolve(options).sampling


def test_every_documented_option_has_an_effect_or_a_reason() -> None:
    for name in DOCUMENTED:
        rule = OLLAMA_OPTIONS[name]
        assert (name in Options.__struct_fields__) != bool(rule.ignored), name


def test_all_of_them_at_once(client: httpx2.Client) -> None:
    options = {name: VALUES.get(name, 1) for name in DOCUMENTED}
    body = {"model": "m", "prompt": "⟦a⟧", "stream": False, "options": options}
    response = client.post("/api/generate", json=body)
    assert response.status_code == 200, response.text


def test_what_llama_cpp_has_beyond_ollama() -> None:
    given: dict[str, Any] = {
        "top_n_sigma": 1.5, "xtc_probability": 0.5, "xtc_threshold": 0.2, "dynatemp_range": 0.3,
        "dynatemp_exponent": 2, "dry_multiplier": 0.8, "dry_base": 1.5, "dry_allowed_length": 3,
        "dry_penalty_last_n": 64,
    }  # fmt: skip
    made = sampling(**given, dry_sequence_breakers=["."], logit_bias={"7": 2, "8": False})
    assert {name: getattr(made, name) for name in given} == given
    assert made.dry_sequence_breakers == (".",)
    assert made.logit_bias == ((7, 2.0), (8, float("-inf")))
    assert set(LLAMA_OPTIONS) <= set(Options.__struct_fields__)


def test_unknown_names_are_accepted(client: httpx2.Client) -> None:
    body = {"model": "m", "prompt": "⟦a⟧", "stream": False, "options": {"tempreture": "hot"}}
    assert client.post("/api/generate", json=body).json()["response"] == "a"


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("num_ctx", "x", "must be of type integer"),
        ("num_ctx", True, "must be of type integer"),
        ("seed", [1], "must be of type integer"),
        ("num_gpu", "all", "must be of type integer"),
        ("use_mmap", 1, "must be of type boolean"),
        ("temperature", "hot", "must be of type float32"),
        ("top_p", {}, "must be of type float32"),
        ("stop", "x", "must be of type array"),
        ("stop", [1], "must be of an array of strings"),
        ("mirostat", 3, "must be 0, 1 or 2"),
        ("repeat_penalty", 0, "must be greater than 0"),
        ("xtc_probability", "often", "must be of type float32"),
        ("dry_sequence_breakers", "x", "must be of type array"),
        ("logit_bias", [[1, 2]], "must be of type object"),
        ("logit_bias", {"Paris": 2}, "must name tokens by their ids"),
        ("logit_bias", {"-1": 2}, "must name tokens by their ids"),
        ("logit_bias", {"1": "x"}, "must be of type float32"),
    ],
)
def test_a_wrong_type_is_the_clients_mistake(
    client: httpx2.Client, name: str, value: object, kind: str
) -> None:
    body = {"model": "m", "prompt": "x", "options": {name: value}}
    response = client.post("/api/generate", json=body)
    assert (response.status_code, response.json()) == (400, {"error": f'option "{name}" {kind}'})


def test_numbers_that_are_none(client: httpx2.Client) -> None:
    for number in ("1e999", "1" + "0" * 400):
        body = f'{{"model":"m","prompt":"x","options":{{"temperature":{number}}}}}'
        response = client.post("/api/generate", content=body)
        assert response.status_code == 400
        assert response.json() == {"error": 'option "temperature" must be a finite number'}
    for value in (float("nan"), float("inf")):
        with pytest.raises(InvalidRequest):
            parse_ollama({"top_p": value})


@pytest.mark.parametrize(
    ("given", "field", "expected"),
    [
        ({"temperature": -5}, "temperature", 0.0),
        ({"temperature": 1e30}, "temperature", 100.0),
        ({"temperature": 1e-40}, "temperature", 0.0),
        ({"top_p": 7}, "top_p", 1.0),
        ({"top_p": -1}, "top_p", 0.0),
        ({"top_k": -1}, "top_k", 0),
        ({"top_k": 10**12}, "top_k", 2**31 - 1),
        ({"repeat_last_n": -7}, "repeat_last_n", -1),
        ({"seed": -1}, "seed", None),
        ({"seed": 2**32 - 1}, "seed", 0),
        ({"seed": 7.9}, "seed", 7),
        ({"seed": None}, "seed", None),
        ({"mirostat": 2, "mirostat_tau": 4}, "mirostat_tau", 4.0),
        ({"ignore_eos": True}, "ignore_eos", True),
    ],
)
def test_what_becomes_of_a_value(given: dict[str, Any], field: str, expected: object) -> None:
    assert getattr(sampling(**given), field) == expected


def test_defaults_are_ollamas() -> None:
    resolved = resolve()
    assert (resolved.sampling.temperature, resolved.sampling.top_k) == (0.8, 40)
    assert (resolved.sampling.top_p, resolved.sampling.repeat_penalty) == (0.9, 1.0)
    assert (resolved.num_keep, resolved.max_tokens, resolved.num_ctx) == (4, None, None)


def test_later_layers_win_field_by_field() -> None:
    model, _ = parse_ollama({"temperature": 0.1, "stop": ["A"], "num_ctx": 100})
    request, _ = parse_ollama({"temperature": 0.2, "num_ctx": 1})
    resolved = resolve(model, request)
    assert resolved.sampling.temperature == 0.2
    assert resolved.stop == ("A",)
    assert resolved.num_ctx == 4


def test_empty_stop_strings_stop_nothing() -> None:
    options, _ = parse_ollama({"stop": ["", "x"]})
    assert options.stop == ("x",)
