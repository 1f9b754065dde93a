"""Names of secrets: those that the Console accepts, and no others."""

import pytest

from toolkit.sdl.sealed import is_sealed, secret_name


@pytest.mark.parametrize("name", ["A", "_", "a9", "HF_TOKEN", "A" + "b" * 63])
def test_a_name_is_found(name: str) -> None:
    assert secret_name(f"ac-secret://{name}") == name


@pytest.mark.parametrize(
    "value",
    [
        "",
        "ac-",
        "ac-secret://",
        "ac-secret:/A",
        "ac-SECRET://A",
        "ac-other://A",
        "ac-secret://9A",
        "ac-secret://hf-token",
        "ac-secret://a.b",
        "ac-secret://É",
        "ac-secret://A\n",
        "ac-secret://A" + "b" * 64,
        "x ac-secret://A",
    ],
)
def test_anything_else_is_what_it_says(value: str) -> None:
    assert not is_sealed(value)
