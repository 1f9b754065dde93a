"""Pulling from a real registry, through a network that is good, and through one that is not."""

import asyncio
import hashlib
import os
import random
import shutil
import sys
import threading
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from server.errors import Forbidden, NotFound, PullFailed, ServerError, StorageFull
from server.models.manifest import digest_of
from server.models.name import InvalidModelName
from server.models.patience import Patience
from server.models.pull import Progress, Puller
from server.models.store import Store
from tests.support.gguf_files import write_model
from tests.support.image_registry import ImageRegistry
from tests.support.ollama_store import blob_names
from tests.support.rough_proxy import Answer, Request, RoughProxy, Script
from tests.support.tiny_split import write_tiny_split

ROWS = 40_000  # 1.6 MB of weights: more than one part


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    data = bytearray(write_model(tmp_path_factory.mktemp("w") / "w.gguf", rows=ROWS).read_bytes())
    data[-1_500_000:-1000] = random.Random(1).randbytes(1_499_000)
    return bytes(data)


@pytest.fixture
def model(registry: ImageRegistry, weights: bytes) -> str:
    """The rest of the name of a model that is in the registry."""
    registry.push("library/m:7b", [("model", weights), ("params", b'{"stop":["<a>"]}')])
    return "library/m:7b"


async def pulled(puller: Puller, name: str) -> list[Progress]:
    return [step async for step in puller.pull(name)]


def statuses(steps: list[Progress]) -> list[str]:
    """What is told, each line once."""
    return list(dict.fromkeys(step.status for step in steps))


def blob(store: Store, data: bytes) -> Path:
    return store.blobs.path(digest_of(data))


def is_weights(request: Request, weights: bytes) -> bool:
    return request.path.endswith(digest_of(weights))


async def test_pull_tells_what_ollama_tells(
    puller: Puller, proxy: RoughProxy, store: Store, registry: ImageRegistry, weights: bytes
) -> None:
    layers = [("model", weights), ("params", b'{"stop":["<a>"]}'), ("license", b"MIT")]
    manifest = registry.push("user/told:q4", layers)
    name = f"{proxy.host}/user/told:q4"
    steps = await pulled(puller, name)
    config = b'{"model_format": "gguf"}'
    blobs = [hashlib.sha256(data).hexdigest() for data in (*(d for _, d in layers), config)]
    assert statuses(steps) == [
        "pulling manifest",
        *(f"pulling {sha256[:12]}" for sha256 in blobs),
        "verifying sha256 digest",
        "writing manifest",
        "success",
    ]
    of_weights = [step for step in steps if step.digest == f"sha256:{blobs[0]}"]
    assert {step.total for step in of_weights} == {len(weights)}
    counts = [step.completed for step in of_weights]
    assert counts == sorted(counts) and (counts[0], counts[-1]) == (0, len(weights))
    found = store.get(name)
    assert found.problem is None
    assert found.check()[0].read_bytes() == weights
    assert found.digest == hashlib.sha256(manifest).hexdigest()
    assert found.parameters == {"stop": ["<a>"]}
    assert blob_names(store.root) == {f"sha256-{sha256}" for sha256 in blobs}


async def test_weights_come_in_several_parts(
    puller: Puller, proxy: RoughProxy, model: str, weights: bytes
) -> None:
    await pulled(puller, f"{proxy.host}/{model}")
    ranges = [one.headers["range"] for one in proxy.blobs if is_weights(one, weights)]
    assert len(ranges) == -(-len(weights) // (len(weights) // 16))
    assert ranges[0].startswith("bytes=0-")


async def test_what_is_there_is_not_fetched_again(
    puller: Puller, proxy: RoughProxy, model: str
) -> None:
    await pulled(puller, f"{proxy.host}/{model}")
    count = len(proxy.blobs)
    steps = await pulled(puller, f"{proxy.host}/{model.upper()}")
    assert len(proxy.blobs) == count
    assert steps[-1].status == "success"
    assert all(step.completed == step.total for step in steps)


async def test_replaced_layers_are_removed(
    puller: Puller, proxy: RoughProxy, store: Store, registry: ImageRegistry, weights: bytes
) -> None:
    registry.push("library/new:x", [("model", weights), ("system", b"old")])
    name = f"{proxy.host}/library/new:x"
    await pulled(puller, name)
    registry.push("library/new:x", [("model", weights), ("system", b"new")])
    steps = await pulled(puller, name)
    assert statuses(steps)[-3:] == ["writing manifest", "removing unused layers", "success"]
    assert store.get(name).system == "new"
    assert not blob(store, b"old").exists()


async def test_split_weights_are_loaded_as_one_model(
    puller: Puller, proxy: RoughProxy, store: Store, registry: ImageRegistry, tmp_path: Path
) -> None:
    parts = [path.read_bytes() for path in write_tiny_split(tmp_path)]
    registry.push("library/split:x", [("model", part) for part in parts])
    await pulled(puller, f"{proxy.host}/library/split:x")
    found = store.get(f"{proxy.host}/library/split:x")
    weights, header = found.check()
    assert weights.name.endswith("-00001-of-00003.gguf")
    assert header.tensor_count == 21
    assert weights.read_bytes() == parts[0]


# -- names


@pytest.mark.parametrize("name", ["", "../x", "a b", "host/ns/m:t/../x", "hf://user/m.gguf"])
async def test_what_is_no_name_is_refused(puller: Puller, name: str, store: Store) -> None:
    with pytest.raises(ServerError) as caught:
        await pulled(puller, name)
    assert caught.value.status == 400
    if not name.startswith("hf://"):
        assert isinstance(caught.value, InvalidModelName)
        assert caught.value.message == "invalid model name"
    assert not store.root.exists()


async def test_only_registries_of_the_list_are_asked(puller: Puller, store: Store) -> None:
    for name in ("evil.example/ns/m", "m", "hf://user/repo/m.gguf"):
        with pytest.raises(Forbidden, match="may not be pulled from"):
            await pulled(puller, name)
    assert not store.root.exists()


async def test_model_that_is_not_there(puller: Puller, proxy: RoughProxy, store: Store) -> None:
    seen = []
    with pytest.raises(NotFound, match=r"^pull model manifest: file does not exist$"):
        async for step in puller.pull(f"{proxy.host}/library/none"):
            seen.append(step)
    assert seen == [Progress("pulling manifest")]
    assert store.list() == []


# -- bad networks


def on_weights(
    weights: bytes, times: int, change: Callable[[Answer], Answer]
) -> Callable[[Request, Answer], Answer]:
    """A script that changes the first answers with weights."""
    left = [times]

    def script(request: Request, answer: Answer) -> Answer:
        if is_weights(request, weights) and left[0] > 0:
            left[0] -= 1
            return change(answer)
        return answer

    return script


@pytest.mark.parametrize(
    "change",
    [
        lambda answer: answer._replace(cut_after=len(answer.body) // 2),
        lambda answer: answer._replace(cut_after=0),
        lambda answer: Answer(503, {"retry-after": "0"}, b"later"),
        lambda answer: Answer(429, {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, b""),
        lambda answer: Answer(500, {}, b"broken"),
        lambda answer: answer._replace(body=answer.body + b"more"),
        lambda answer: answer._replace(headers={"content-range": "bytes 1-2/3"}),
        lambda answer: answer._replace(headers={"content-range": "nonsense"}),
        lambda answer: answer._replace(body=answer.body[:-9]),
        lambda answer: answer._replace(is_slow=True),
    ],
    ids=[
        "cut",
        "cut at once",
        "503",
        "429",
        "500",
        "more",
        "wrong range",
        "no range",
        "less",
        "slow",
    ],
)
async def test_what_passes_is_tried_again(
    puller: Puller,
    proxy: RoughProxy,
    store: Store,
    model: str,
    weights: bytes,
    change: Callable[[Answer], Answer],
) -> None:
    proxy.script = on_weights(weights, 3, change)
    steps = await pulled(puller, f"{proxy.host}/{model}")
    assert steps[-1].status == "success"
    assert blob(store, weights).read_bytes() == weights


async def test_what_does_not_pass_is_given_up(
    puller: Puller, proxy: RoughProxy, store: Store, model: str, weights: bytes
) -> None:
    proxy.script = on_weights(weights, 10_000, lambda answer: Answer(502, {}, b""))
    with pytest.raises(PullFailed, match=r"answered 502 \(tried 4 times\)") as caught:
        await pulled(puller, f"{proxy.host}/{model}")
    assert "goes on where it stopped" in caught.value.hint
    assert store.list() == []


async def test_connection_without_a_byte_is_dead_after_a_while(
    new_puller: Callable[..., Puller], proxy: RoughProxy, store: Store, model: str, weights: bytes
) -> None:
    never = asyncio.Event()
    proxy.script = on_weights(weights, 2, lambda answer: answer._replace(hold=never))
    patience = Patience(stall_s=0.2, tries=20, first_wait_s=0.001, longest_wait_s=0.01)
    await pulled(new_puller(patience), f"{proxy.host}/{model}")
    assert blob(store, weights).read_bytes() == weights


async def test_server_without_ranges_sends_all_at_once(
    puller: Puller, proxy: RoughProxy, store: Store, model: str, weights: bytes
) -> None:
    cuts = [weights[:1000], weights]

    def script(request: Request, answer: Answer) -> Answer:
        if not is_weights(request, weights):
            return answer
        whole = Answer(200, {}, weights)
        if "range" not in request.headers and cuts:
            return whole._replace(cut_after=len(cuts.pop(0)))
        return whole

    proxy.script = script
    await pulled(puller, f"{proxy.host}/{model}")
    assert blob(store, weights).read_bytes() == weights


async def test_wrong_bytes_are_thrown_away(
    puller: Puller, proxy: RoughProxy, store: Store, model: str, weights: bytes
) -> None:
    proxy.script = on_weights(
        weights, 1, lambda answer: answer._replace(body=bytes(len(answer.body)))
    )
    with pytest.raises(PullFailed, match="digest mismatch, file must be downloaded again"):
        await pulled(puller, f"{proxy.host}/{model}")
    assert blob_names(store.root) == set()
    assert store.list() == []
    await pulled(puller, f"{proxy.host}/{model}")
    assert blob(store, weights).read_bytes() == weights


async def test_file_that_is_longer_than_the_manifest_says_is_refused(
    puller: Puller, proxy: RoughProxy, model: str, weights: bytes
) -> None:
    proxy.script = on_weights(
        weights,
        100,
        lambda answer: answer._replace(
            headers={"content-range": answer.headers["content-range"].partition("/")[0] + "/99"}
        ),
    )
    with pytest.raises(PullFailed, match="the manifest says"):
        await pulled(puller, f"{proxy.host}/{model}")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"{", "manifest is damaged"),
        (b"[]", "manifest is damaged"),
        (b'{"config":{"mediaType":"x","digest":"sha256:../../x"}}', "no proper digest"),
        (b'{"schemaVersion":2,"manifests":[]}', "manifest is damaged"),
        (b" " * (4 << 20) + b"{}", "longer than 4194304 bytes"),
    ],
)
async def test_manifest_that_is_none_is_refused(
    puller: Puller, proxy: RoughProxy, store: Store, model: str, body: bytes, why: str
) -> None:
    proxy.script = lambda request, answer: answer._replace(body=body)
    with pytest.raises(PullFailed, match=f"^pull model manifest: .*{why}"):
        await pulled(puller, f"{proxy.host}/{model}")
    assert store.list() == []


async def test_blob_of_two_sizes_is_refused(puller: Puller, proxy: RoughProxy, model: str) -> None:
    layer = '{"mediaType":"x","digest":"sha256:%s","size":%d}'
    one, two = layer % ("0" * 64, 1), layer % ("0" * 64, 2)
    body = f'{{"config":{one},"layers":[{two}]}}'.encode()
    proxy.script = lambda request, answer: answer._replace(body=body)
    with pytest.raises(PullFailed, match="two sizes"):
        await pulled(puller, f"{proxy.host}/{model}")


async def test_manifest_of_too_many_blobs_is_refused(
    puller: Puller, proxy: RoughProxy, model: str
) -> None:
    layers = [f'{{"mediaType":"x","digest":"sha256:{number:064x}"}}' for number in range(2049)]
    body = f'{{"config":{layers[0]},"layers":[{",".join(layers)}]}}'.encode()
    proxy.script = lambda request, answer: answer._replace(body=body)
    with pytest.raises(PullFailed, match="names more than 2048 blobs"):
        await pulled(puller, f"{proxy.host}/{model}")


async def test_no_room_is_said_before_anything_is_fetched(
    puller: Puller, proxy: RoughProxy, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(StorageFull, match="no space left"):
        await pulled(puller, f"{proxy.host}/{model}")
    assert proxy.blobs == []


async def test_disk_that_fills_up_on_the_way_is_told(
    puller: Puller, proxy: RoughProxy, store: Store, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int, data: bytes, position: int) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(StorageFull):
            await pulled(puller, f"{proxy.host}/{model}")
    await pulled(puller, f"{proxy.host}/{model}")
    assert len(store.list()) == 1


# -- stopping and going on


def holding_the_last_part(weights: bytes, gate: asyncio.Event) -> Script:
    """A script that lets everything pass but the last of 16 parts."""
    start = f"bytes={15 * (len(weights) // 16)}-"

    def script(request: Request, answer: Answer) -> Answer:
        is_last = request.headers.get("range", "").startswith(start)
        return answer._replace(hold=gate) if is_last else answer

    return script


async def test_stopped_pull_goes_on_where_it_was(
    puller: Puller, proxy: RoughProxy, store: Store, model: str, weights: bytes
) -> None:
    size = len(weights) // 16
    proxy.script = holding_the_last_part(weights, asyncio.Event())
    async with aclosing(puller.pull(f"{proxy.host}/{model}")) as steps:
        async for step in steps:
            if step.completed >= 15 * size:
                break
    partial = store.blobs.path(digest_of(weights) + "-partial")
    assert partial.stat().st_size == len(weights)
    assert store.list() == []
    proxy.script = lambda request, answer: answer
    before = len(proxy.blobs)
    again = await pulled(puller, f"{proxy.host}/{model}")
    assert again[-1].status == "success"
    assert blob(store, weights).read_bytes() == weights
    ranges = [one.headers["range"] for one in proxy.blobs[before:] if is_weights(one, weights)]
    fetched = sum(int(last) - int(first) + 1 for first, last in map(ends, ranges))
    assert 0 < fetched <= len(weights) - 15 * size + 1
    assert not list(store.blobs.folder.glob("*partial*"))


async def test_a_pull_that_is_stopped_does_not_wait_for_the_disk(
    puller: Puller, proxy: RoughProxy, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, is_written = threading.Event(), threading.Event()

    def slow(handle: int) -> None:
        begun.set()
        is_written.wait(60)

    monkeypatch.setattr(os, "fsync", slow)
    pulling = asyncio.create_task(pulled(puller, f"{proxy.host}/{model}"))
    await asyncio.to_thread(begun.wait, 60)
    pulling.cancel()
    try:
        done, _ = await asyncio.wait({pulling}, timeout=30)
        assert done and pulling.cancelled()
    finally:
        is_written.set()


def ends(text: str) -> tuple[str, str]:
    first, _, last = text.removeprefix("bytes=").partition("-")
    return first, last


async def test_half_a_pull_of_ollama_goes_on(
    puller: Puller, proxy: RoughProxy, store: Store, model: str, weights: bytes
) -> None:
    partial = store.blobs.path(digest_of(weights) + "-partial")
    partial.parent.mkdir(parents=True)
    half = len(weights) // 2
    partial.write_bytes(weights[: half - 100] + bytes(len(weights) - half + 100))
    for number, offset, size, done in (
        (0, 0, half, half - 100),
        (1, half, len(weights) - half, 0),
    ):
        note = f'{{"N":{number},"Offset":{offset},"Size":{size},"Completed":{done}}}\n'
        Path(f"{partial}-{number}").write_text(note)
    await pulled(puller, f"{proxy.host}/{model}")
    ranges = {one.headers["range"] for one in proxy.blobs if is_weights(one, weights)}
    assert ranges == {f"bytes={half - 100}-{half - 1}", f"bytes={half}-{len(weights) - 1}"}
    assert blob(store, weights).read_bytes() == weights


# -- several at once


async def test_two_pulls_of_a_process_share_the_work(
    puller: Puller, proxy: RoughProxy, store: Store, model: str, weights: bytes
) -> None:
    name = f"{proxy.host}/{model}"
    one, two = await asyncio.gather(pulled(puller, name), pulled(puller, name))
    assert one[-1] == two[-1] == Progress("success")
    ranges = [one.headers["range"] for one in proxy.blobs if is_weights(one, weights)]
    assert len(ranges) == len(set(ranges))


async def test_pull_goes_on_while_one_wants_it(
    puller: Puller, proxy: RoughProxy, store: Store, model: str, weights: bytes
) -> None:
    gate = asyncio.Event()
    proxy.script = holding_the_last_part(weights, gate)
    first, second = (puller.pull(f"{proxy.host}/{model}") for _ in "ab")
    for steps in (first, second):
        while (await anext(steps)).completed == 0:
            pass
    await first.aclose()
    gate.set()
    rest = [step async for step in second]
    assert rest[-1] == Progress("success")
    ranges = [one.headers["range"] for one in proxy.blobs if is_weights(one, weights)]
    assert len(ranges) == len(set(ranges))


async def test_two_processes_do_the_work_once(
    store: Store, proxy: RoughProxy, registry: ImageRegistry, weights: bytes
) -> None:
    registry.push("library/twice:x", [("model", weights)])
    gate = asyncio.Event()
    proxy.script = on_weights(weights, 100, lambda answer: answer._replace(hold=gate))
    runs = [asyncio.create_task(pull_elsewhere(store, proxy, "library/twice:x")) for _ in "ab"]
    # Both have the manifest before the weights come.
    while sum("/manifests/" in request.path for request in proxy.seen) < 2 or not proxy.blobs:
        proxy.asked.clear()
        await proxy.asked.wait()
    gate.set()
    assert [code for code, _ in await asyncio.gather(*runs)] == [0, 0]
    assert blob(store, weights).read_bytes() == weights
    asked = [one for one in proxy.blobs if is_weights(one, weights)]
    assert len(asked) == len({one.headers.get("range") for one in asked})


async def test_killed_process_leaves_what_the_next_one_goes_on_with(
    store: Store, proxy: RoughProxy, registry: ImageRegistry, weights: bytes, puller: Puller
) -> None:
    registry.push("library/kill:x", [("model", weights)])
    size = len(weights) // 16
    proxy.script = holding_the_last_part(weights, asyncio.Event())
    code, _ = await pull_elsewhere(store, proxy, "library/kill:x", kill_at=15 * size)
    assert code == -9
    assert store.list() == []
    before = len(proxy.blobs)
    proxy.script = lambda request, answer: answer
    await pulled(puller, f"{proxy.host}/library/kill:x")
    assert blob(store, weights).read_bytes() == weights
    again = [one for one in proxy.blobs[before:] if is_weights(one, weights)]
    assert len(again) < 16


async def test_pull_that_is_killed_anywhere_leaves_no_broken_model(
    store: Store, proxy: RoughProxy, registry: ImageRegistry, weights: bytes
) -> None:
    registry.push("library/kill:y", [("model", weights), ("system", b"s")])
    name, step, code = f"{proxy.host}/library/kill:y", 20, -9
    while code == -9:
        code, said = await pull_elsewhere(store, proxy, "library/kill:y", kill_after=step)
        for model in Store(store.root).list():
            assert (model.problem, model.system) == (None, "s")
            assert model.check()[0].read_bytes() == weights
        step += 20
    assert code == 0, said
    assert step > 60
    assert store.get(name).problem is None
    assert not list(store.blobs.folder.glob("*partial*"))


PULL = """
import asyncio, os, sys
from pathlib import Path
from server.models.pull import Puller
from server.models.sources import Registries
from server.models.store import Store
from tests.server.models.conftest import SMALL, SWIFT

async def main(root, url, name, kill_at):
    puller = Puller(Store(Path(root)), Registries.parse([url]), patience=SWIFT, cut=SMALL)
    async for step in puller.pull(name):
        if kill_at and step.completed >= kill_at:
            os.kill(os.getpid(), 9)

def audit(event, arguments):
    if event in ("os.rename", "os.remove", "os.truncate", "open") and left[0]:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), 9)

left = [int(sys.argv[5])]
sys.addaudithook(audit)
asyncio.run(main(*sys.argv[1:4], int(sys.argv[4])))
"""


async def pull_elsewhere(
    store: Store, proxy: RoughProxy, model: str, *, kill_at: int = 0, kill_after: int = 0
) -> tuple[int, bytes]:
    """Pull in a process of its own: its exit code and what it said. It kills itself at so many
    bytes, or after so many steps on the file system."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PULL, str(store.root), proxy.url),
        *(f"{proxy.host}/{model}", str(kill_at), str(kill_after)),
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    return process.returncode or 0, said
