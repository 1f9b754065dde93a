"""Images in the step loop: read whole, one a step, found again, forgotten, shifted."""

import pytest

from server.engine.backend import Decoded, Row
from server.engine.config import EngineConfig, FakeCosts
from server.engine.fake import IMAGE_ROWS, FakeBackend, image_text
from server.engine.image_tokens import image_tokens, is_image
from server.engine.messages import Abort, Submit
from server.engine.types import ImageSegment, Request, Sampling, Segment
from tests.server.engine.stepping import Engine
from tests.support.tiny_vision import picture

ENDLESS = Sampling(ignore_eos=True)
ONE, OTHER, THIRD = (picture(number, size=(8, 8)) for number in range(3))


class Recorder(FakeBackend):
    """Notes, for each call, the images that it encoded or the rows of images that it decoded."""

    def __init__(self, **config: object) -> None:
        options = EngineConfig(backend="fake", **config)  # type: ignore[arg-type]
        super().__init__(options, has_vision=True)
        self.calls: list[tuple[str, int]] = []

    def encode(self, tokens: list[int], images: tuple[bytes, ...]) -> None:  # type: ignore[override]
        super().encode(tokens, images)
        self.calls.append(("encode", len(tokens)))

    def decode(self, rows: list[Row]) -> Decoded:  # type: ignore[override]
        self.calls.append(("decode", sum(is_image(row.token) for row in rows)))
        return super().decode(rows)

    def forget(self) -> None:
        """As if other images had taken the room."""
        self._encoded.clear()


def test_a_reply_knows_which_image_it_is_about() -> None:
    engine = Engine()
    engine.show(1, ["What is ", ONE, " beside ", OTHER, "?"])
    engine.drain()
    assert engine.text[1] == f"What is {image_text(ONE)} beside {image_text(OTHER)}?"
    assert engine.finished[1].prompt_tokens == len("What is  beside ?") + 2 * IMAGE_ROWS


def test_an_image_is_encoded_once_and_read_whole() -> None:
    backend = Recorder()
    engine = Engine(backend)
    engine.show(1, ["a", ONE, ONE, "b", OTHER, "⟦x⟧"])
    engine.drain()
    images = [call for call in backend.calls if call[1]]
    encoded, read = ("encode", IMAGE_ROWS), ("decode", IMAGE_ROWS)
    assert images == [encoded, read, read, encoded, read]


def test_what_begins_with_the_same_image_starts_with_its_rows() -> None:
    backend = Recorder()
    engine = Engine(backend)
    beginning = "a beginning that is worth a copy "
    engine.show(1, [beginning, ONE, "⟦x⟧"])
    engine.drain()
    engine.show(2, [beginning, ONE, "⟦y⟧"])
    engine.drain()
    shared = len(beginning) + IMAGE_ROWS
    assert engine.finished[2].cached_tokens == shared + len("⟦".encode())
    engine.show(3, [beginning, OTHER, "⟦z⟧"])
    engine.drain()
    assert engine.finished[3].cached_tokens == len(beginning)
    assert [text for _, text in sorted(engine.text.items())] == ["x", "y", "z"]
    assert backend.calls.count(("encode", IMAGE_ROWS)) == 2


def test_streams_get_a_step_between_two_images() -> None:
    backend = Recorder(parallel=2)
    engine = Engine(backend, parallel=2)
    engine.submit(1, "⟦.⟧", sampling=ENDLESS, max_tokens=200)
    while not engine.text[1]:
        engine.step()
    backend.calls.clear()
    engine.show(2, ["a", ONE, OTHER, THIRD, "⟦x⟧"])
    while not engine.text[2]:
        before = engine.tokens[1]
        engine.step()
        assert engine.tokens[1] == before + 1
    assert backend.calls.count(("encode", IMAGE_ROWS)) == 3


def test_two_requests_with_images_take_turns() -> None:
    backend = Recorder(parallel=2)
    engine = Engine(backend, parallel=2)
    engine.show(1, [ONE, "⟦x⟧"])
    engine.show(2, [OTHER, "⟦y⟧"])
    engine.drain()
    assert (engine.text[1], engine.text[2]) == ("x", "y")
    assert max(rows for _, rows in backend.calls) == IMAGE_ROWS


def test_an_image_that_was_forgotten_is_looked_at_again() -> None:
    backend = Recorder(parallel=1, context=64)
    engine = Engine(backend, parallel=1, context=64)
    engine.show(1, [ONE, "⟦x⟧"])
    engine.drain()
    engine.submit(2, "something that has nothing to do with it")
    engine.drain()
    backend.forget()
    engine.show(3, [ONE, "⟦y⟧"])
    engine.drain()
    assert engine.text[3] == "y"
    assert backend.calls.count(("encode", IMAGE_ROWS)) == 2


def test_who_is_preempted_sees_its_images_again() -> None:
    engine = Engine(context=96, parallel=3, pool=100)
    for number, image in enumerate((ONE, OTHER, THIRD), start=1):
        engine.show(number, [f"{number}", image, "⟦.⟧"], sampling=ENDLESS, max_tokens=60)
    engine.drain()
    assert engine.stats.num_preempted > 0
    assert [engine.text[number] for number in (1, 2, 3)] == ["." * 60] * 3


def test_an_aborted_image_is_not_read() -> None:
    backend = Recorder()
    engine = Engine(backend)
    engine.show(1, [ONE, "⟦x⟧"])
    engine.step()
    assert backend.calls == [("encode", IMAGE_ROWS)]
    engine.loop.abort(Abort(1))
    engine.drain()
    assert backend.calls == [("encode", IMAGE_ROWS)]
    assert not engine.finished and not engine.failed


@pytest.mark.parametrize("num_keep", [0, 1, 3, 5, 8])
def test_a_full_window_drops_images_as_a_whole(num_keep: int) -> None:
    """The backend checks each step that no part of an image is left."""
    engine = Engine(context=40, parallel=1)
    parts: list[str | bytes] = ["a", ONE, "b", OTHER, "c", THIRD, "⟦.⟧"]
    engine.show(1, parts, sampling=ENDLESS, max_tokens=150, num_keep=num_keep)
    engine.drain()
    assert engine.text[1] == "." * 150
    assert engine.finished[1].shifted_tokens > 0


def test_guesses_are_text() -> None:
    engine = Engine(parallel=1, context=400, speculate="on")
    # What followed "xy" when it stood there last is an image.
    engine.show(1, ["⟦xy⟧ xy", ONE, "?"], sampling=ENDLESS, max_tokens=100)
    engine.drain()
    assert engine.text[1] == "xy" * 50
    assert engine.stats.accepted_tokens > 0


def test_an_image_takes_its_time() -> None:
    backend = Recorder(fake=FakeCosts(image_s=0.001))
    engine = Engine(backend)
    engine.show(1, [ONE, "⟦x⟧"])
    engine.drain()
    assert engine.text[1] == "x"


def fails(engine: Engine, request: Request) -> str:
    """Why this request fails, and that another one does not."""
    engine.loop.submit(Submit(1, request))
    engine.submit(2, "⟦y⟧")
    engine.drain()
    assert engine.text[2] == "y"
    assert engine.failed[1].kind == "invalid_request"
    return engine.failed[1].message


def test_requests_whose_images_are_not_right() -> None:
    ids = image_tokens(ONE, IMAGE_ROWS, IMAGE_ROWS)
    text = list(b"what?")
    assert "did not come" in fails(Engine(), Request(tokens=[*ids, *text]))
    assert "did not come" in fails(Engine(), Request(tokens=[*ids, *text], images=(OTHER,)))
    assert "has no end" in fails(Engine(), Request(tokens=[*ids[:2], *text], images=(ONE,)))
    assert "ends with an image" in fails(Engine(), Request(tokens=[*text, *ids], images=(ONE,)))
    assert "not in the vocabulary" in fails(Engine(), Request(tokens=[*ids, 999], images=(ONE,)))


def test_a_model_without_eyes_says_so() -> None:
    engine = Engine(FakeBackend(EngineConfig(backend="fake")))
    ids = image_tokens(ONE, IMAGE_ROWS, IMAGE_ROWS)
    request = Request(tokens=[*ids, *b"what?"], images=(ONE,))
    assert "does not take images" in fails(engine, request)


def test_an_image_that_was_cut_out_of_the_prompt_is_not_missed() -> None:
    engine = Engine()
    engine.loop.submit(Submit(1, Request(tokens=list("⟦x⟧".encode()), images=(ONE,))))
    engine.drain()
    assert engine.text[1] == "x"


def test_the_fake_reads_only_images() -> None:
    backend = Recorder()
    tokens = backend.tokenize([Segment("a"), ImageSegment(ONE)], add_bos=True)
    assert tokens == [ord("a"), *image_tokens(ONE, IMAGE_ROWS, IMAGE_ROWS)]
