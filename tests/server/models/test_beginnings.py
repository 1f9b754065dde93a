"""Headers of models that lie in a registry: what they say, and how little is fetched for it."""

from pathlib import Path

import pytest

from server.errors import ModelUnusable, NotFound, PullFailed
from server.models import beginnings
from server.models.beginnings import header_in_registry
from server.models.gguf import read_header
from server.models.name import ModelName
from server.models.sources import Registries
from tests.server.models.conftest import SWIFT
from tests.support import shaped_models as shaped
from tests.support.image_registry import ImageRegistry
from tests.support.rough_proxy import Answer, Request, RoughProxy
from tests.support.shaped_models import Dims
from tests.support.tiny_split import write_tiny_split

MIB = 1 << 20


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Some megabytes, with a vocabulary that is longer than what is asked for first."""
    dims = Dims(256, 2, 4, 2, 64, 512, vocab=20000)
    return shaped.write_shaped(tmp_path / "m.gguf", shaped.llama(dims))


def named(proxy: RoughProxy, name: str) -> ModelName:
    return ModelName.parse(f"{proxy.host}/{name}")


class Counting:
    """A script that counts the bytes of blobs that go over the network."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, request: Request, answer: Answer) -> Answer:
        if request.is_blob:
            self.count += len(answer.body)
        return answer


async def test_only_the_header_is_fetched(
    registry: ImageRegistry, proxy: RoughProxy, model: Path
) -> None:
    registry.push("library/sized:1", [("model", model.read_bytes()), ("params", b"{}")])
    proxy.script = counting = Counting()
    header, beside = await header_in_registry(
        named(proxy, "library/sized:1"), Registries.parse([proxy.url]), SWIFT
    )
    whole = read_header(model, whole=True)
    assert header.tensors == whole.tensors
    assert header.file_size == model.stat().st_size > 8 * MIB
    assert header.vocab_size == 20000 and beside == 0
    header_bytes = header.file_size - sum(tensor.size_bytes for tensor in whole.tensors)
    assert beginnings.FIRST_BYTES < header_bytes < counting.count < 2 * header_bytes + MIB // 8
    # What was there is never asked for again.
    ranges = [request.headers["range"] for request in proxy.blobs]
    starts = [int(text.partition("=")[2].partition("-")[0]) for text in ranges]
    ends = [int(text.rpartition("-")[2]) + 1 for text in ranges]
    assert len(ranges) > 1 and starts == [0, *ends[:-1]]


async def test_parts_of_a_model_are_one(
    registry: ImageRegistry, proxy: RoughProxy, tmp_path: Path
) -> None:
    parts = [path.read_bytes() for path in write_tiny_split(tmp_path)]
    others = [("adapter", bytes(500)), ("projector", bytes(1500)), ("license", b"MIT")]
    weights = [("model", part) for part in reversed(parts)]
    registry.push("library/split:1", [*weights, *others])
    name = named(proxy, "library/split:1")
    header, beside = await header_in_registry(name, Registries.parse([proxy.url]), SWIFT)
    assert header.file_size == sum(map(len, parts))
    assert beside == 2000
    assert header.tensor_count == len(header.tensors) > len(parts)


async def test_a_connection_that_breaks_is_read_on(
    registry: ImageRegistry, proxy: RoughProxy, model: Path
) -> None:
    registry.push("library/cut:1", [("model", model.read_bytes())])

    def cut(request: Request, answer: Answer) -> Answer:
        is_first = request.is_blob and request.number == 1
        return answer._replace(cut_after=1000) if is_first else answer

    proxy.script = cut
    name = named(proxy, "library/cut:1")
    header, _ = await header_in_registry(name, Registries.parse([proxy.url]), SWIFT)
    assert header.tensors == read_header(model, whole=True).tensors
    assert proxy.blobs[1].headers["range"].startswith("bytes=1000-")


async def test_what_is_no_model_is_an_error(
    registry: ImageRegistry, proxy: RoughProxy, tmp_path: Path
) -> None:
    registries = Registries.parse([proxy.url])
    registry.push("library/none:1", [("template", b"{{ .Prompt }}")])
    registry.push("library/junk:1", [("model", b"junk" * 1000)])
    with pytest.raises(NotFound):
        await header_in_registry(named(proxy, "library/nobody:1"), registries, SWIFT)
    with pytest.raises(ModelUnusable, match="no weights"):
        await header_in_registry(named(proxy, "library/none:1"), registries, SWIFT)
    with pytest.raises(ModelUnusable, match="not a GGUF file"):
        await header_in_registry(named(proxy, "library/junk:1"), registries, SWIFT)


async def test_a_server_that_sends_another_part_is_not_believed(
    registry: ImageRegistry, proxy: RoughProxy, model: Path
) -> None:
    registry.push("library/odd:1", [("model", model.read_bytes())])

    def shifted(request: Request, answer: Answer) -> Answer:
        if not request.is_blob:
            return answer
        return answer._replace(headers=answer.headers | {"content-range": "bytes 7-9/10"})

    proxy.script = shifted
    with pytest.raises(PullFailed, match="another part"):
        await header_in_registry(
            named(proxy, "library/odd:1"), Registries.parse([proxy.url]), SWIFT
        )


async def test_a_header_without_end_is_given_up(
    registry: ImageRegistry, proxy: RoughProxy, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.push("library/long:1", [("model", model.read_bytes())])
    monkeypatch.setattr(beginnings, "MAX_BYTES", 100_000)
    with pytest.raises(ModelUnusable, match="is longer than"):
        await header_in_registry(
            named(proxy, "library/long:1"), Registries.parse([proxy.url]), SWIFT
        )


async def test_a_server_without_ranges_is_left_early(
    registry: ImageRegistry, proxy: RoughProxy, model: Path
) -> None:
    data = model.read_bytes()
    registry.push("library/whole:1", [("model", data)])

    def whole(request: Request, answer: Answer) -> Answer:
        return Answer(200, {}, data) if request.is_blob else answer

    proxy.script = whole
    name = named(proxy, "library/whole:1")
    header, _ = await header_in_registry(name, Registries.parse([proxy.url]), SWIFT)
    assert header.tensors == read_header(model, whole=True).tensors
