"""Model names as Ollama reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.models.name import InvalidModelName, ModelName


@pytest.mark.parametrize(
    ("text", "full", "display"),
    [
        ("m", "registry.ollama.ai/library/m:latest", "m:latest"),
        ("smollm2:135m", "registry.ollama.ai/library/smollm2:135m", "smollm2:135m"),
        ("user/m:7b", "registry.ollama.ai/user/m:7b", "user/m:7b"),
        ("hf.co/u/r:Q4_K_M", "hf.co/u/r:Q4_K_M", "hf.co/u/r:Q4_K_M"),
        ("localhost:5000/u/r", "localhost:5000/u/r:latest", "localhost:5000/u/r:latest"),
        ("https://hf.co/u/r", "hf.co/u/r:latest", "hf.co/u/r:latest"),
        ("http://hf.co/u/r", "hf.co/u/r:latest", "hf.co/u/r:latest"),
        ("  m:x \n", "registry.ollama.ai/library/m:x", "m:x"),
        ("Registry.Ollama.ai/Library/M", "Registry.Ollama.ai/Library/M:latest", "M:latest"),
        ("hf.co/library/m", "hf.co/library/m:latest", "hf.co/library/m:latest"),
        ("_m-1.2:t_3", "registry.ollama.ai/library/_m-1.2:t_3", "_m-1.2:t_3"),
    ],
)
def test_name_is_read_and_shown(text: str, full: str, display: str) -> None:
    name = ModelName.parse(text)
    assert (name.full(), name.display()) == (full, display)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", ":", "m:", ":t", "/m", "a//m", "a/b/c/d", "m n", "m@sha256:00", "-m", ".m"),
        *("..", "../m", "a/../m", "m:..", "m:a/b", "m\x00", "m\n:t", "é", "a.b/m", "ns:1/m"),
        *("x" * 81, "m:" + "x" * 81, "n" * 81 + "/m", "h" * 351 + "/n/m", "\u0661"),
    ],
)
def test_what_is_no_name_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidModelName, match="is invalid") as caught:
        ModelName.parse(text)
    assert caught.value.status == 400
    assert "smollm2:135m" in caught.value.hint
    assert len(caught.value.message) < 200


@pytest.mark.parametrize("part", ["x" * 80, "x" * 80 + ":" + "t" * 80, "h" * 350 + "/n/m"])
def test_longest_names_are_names(part: str) -> None:
    assert ModelName.parse(part).display()


def test_case_does_not_count_but_stays() -> None:
    name = ModelName.parse("LLaMA3:8B")
    assert name.same_as(ModelName.parse("llama3:8b"))
    assert not name.same_as(ModelName.parse("llama3:70b"))
    assert name.display() == "LLaMA3:8B"


@given(st.text(alphabet="aZ0_-.:/ é\x00\\", max_size=20))
def test_a_name_stays_below_the_store_and_reads_back(text: str) -> None:
    try:
        name = ModelName.parse(text)
    except InvalidModelName:
        return
    assert ModelName.parse(name.full()) == name
    assert ModelName.parse(name.display()).same_as(name)
    for part in name.parts():
        assert part.strip("./\\") and "/" not in part and "\x00" not in part
