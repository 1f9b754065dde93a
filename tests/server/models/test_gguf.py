"""Headers of GGUF files: sound ones by the reference writer, and everything else."""

import os
import struct
import tracemalloc
from pathlib import Path

import gguf
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.errors import ModelUnusable
from server.models import ggml
from server.models import gguf as ours
from server.models.gguf import GGUFHeader, read_header
from tests.support.gguf_files import ARRAY, STRING, field, header, tensor, text, write_model

UINT8, UINT32, FLOAT32, BOOL, UINT64, FLOAT64 = 0, 4, 6, 7, 10, 12


def refused(path: Path, data: bytes) -> str:
    """What is said about a file with these bytes."""
    path.write_bytes(data)
    with pytest.raises(ModelUnusable) as caught:
        read_header(path)
    assert caught.value.hint
    return caught.value.message


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.gguf"


# -- sound files


def test_facts_of_a_file(path: Path) -> None:
    found = read_header(write_model(path))
    assert found.architecture == "llama"
    assert (found.context_length, found.embedding_length, found.vocab_size) == (512, 64, 3)
    assert found.parameter_count == 4 * 64 + 64
    assert found.tensor_count == 2
    assert found.quantization_level == "Q4_1"
    assert found.file_size == path.stat().st_size
    assert found.metadata["llama.attention.layer_norm_rms_epsilon"] == 1e-5
    assert found.chat_templates == {"default": "{{ messages }}"}
    assert not found.only_embeds
    assert not found.has_fim
    assert found.tensors == ()


def test_facts_of_the_embedded_model(embedded_store: Path) -> None:
    (weights,) = (one for one in (embedded_store / "blobs").iterdir() if one.stat().st_size > 1e7)
    found = read_header(weights)
    assert (found.parameter_size, found.quantization_level) == ("134.52M", "Q4_1")
    assert (found.context_length, found.embedding_length) == (8192, 576)
    assert found.vocab_size == 49152
    assert found.metadata["tokenizer.ggml.tokens"] is None
    whole = read_header(weights, whole=True)
    tokens = whole.metadata["tokenizer.ggml.tokens"]
    assert isinstance(tokens, list)
    assert tokens[1:3] == ["<|im_start|>", "<|im_end|>"]
    assert len(tokens) == 49152
    assert len(whole.tensors) == whole.tensor_count == 272


def test_long_arrays_are_left_out_unless_asked_for(path: Path) -> None:
    tokens = [f"token {number}" for number in range(5000)]
    write_model(path, tokens=tokens, fields={"x.short": [1, 2], "x.long": list(range(2000))})
    found = read_header(path)
    assert found.metadata["x.short"] == [1, 2]
    assert found.metadata["x.long"] is None
    assert found.array_lengths["x.long"] == 2000
    assert found.vocab_size == 5000
    whole = read_header(path, whole=True)
    assert whole.metadata["tokenizer.ggml.tokens"] == tokens
    assert whole.metadata["x.long"] == list(range(2000))
    assert [(one.name, one.shape, one.type_name) for one in whole.tensors] == [
        ("weights", (64, 4), "Q4_1"),
        ("norm", (64,), "F32"),
    ]


def test_a_large_vocabulary_is_stepped_over_not_built(path: Path) -> None:
    """128,000 tokens, some longer than the buffer is wide, in a few megabytes."""
    tokens = [f"token {number}" for number in range(128_000)]
    tokens[70_000] = "x" * (3 << 20)
    write_model(path, tokens=tokens)
    tracemalloc.start()
    try:
        found = read_header(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.vocab_size == 128_000
    assert found.tensor_count == 2
    assert peak < 24 << 20


def test_every_kind_of_value(path: Path) -> None:
    kinds = {
        **{0: ("B", 255), 1: ("b", -1), 2: ("H", 65535), 3: ("h", -2), 4: ("I", 7), 5: ("i", -7)},
        **{
            6: ("f", 0.1),
            7: ("?", True),
            10: ("Q", 2**64 - 1),
            11: ("q", -(2**63)),
            12: ("d", 0.1),
        },
    }
    fields = [
        field(f"k.{kind}", kind, struct.pack(f"<{code}", value))
        for kind, (code, value) in kinds.items()
    ]
    path.write_bytes(header(*fields, field("k.text", STRING, text("é")), version=2))
    found = read_header(path)
    assert [found.metadata[f"k.{kind}"] for kind in kinds] == [value for _, value in kinds.values()]
    assert found.metadata["k.text"] == "é"
    assert found.version == 2


@pytest.mark.parametrize("value", [3.4028234663852886e38, float("inf"), 1e-45, 0.1, 16777216.0])
def test_floats_read_as_people_write_them(path: Path, value: float) -> None:
    path.write_bytes(header(field("f", FLOAT32, struct.pack("<f", value))))
    found = read_header(path).metadata["f"]
    assert isinstance(found, float)
    assert struct.pack("<f", found) == struct.pack("<f", value)
    assert len(repr(found)) <= len(repr(value))


def test_text_that_is_no_text_is_read_with_marks(path: Path) -> None:
    path.write_bytes(header(field("k", STRING, text(b"a\xff"))))
    assert read_header(path).metadata["k"] == "a\ufffd"


@pytest.mark.parametrize(
    ("fields", "embeds", "ranks"),
    [
        ({"bert.pooling_type": 1}, True, False),
        ({"bert.attention.causal": False}, True, False),
        ({"bert.attention.causal": True}, False, False),
        ({"bert.pooling_type": 4}, True, True),
    ],
)
def test_pooling_or_looking_ahead_makes_an_embedding_model(
    path: Path, fields: dict[str, int], embeds: bool, ranks: bool
) -> None:
    write_model(path, architecture="bert", fields=fields)
    found = read_header(path)
    assert (found.only_embeds, found.only_ranks) == (embeds, ranks)


@pytest.mark.parametrize(
    ("tokens", "fields", "expected"),
    [
        (["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"], {}, True),
        (["<PRE>", "▁<SUF>", "<MID>"], {}, True),
        (["<PRE>", "<SUF>"], {}, False),
        (["x<PRE>", "<SUF>", "<MID>"], {}, False),
        (["<PRE>", "<SUF>"], {"tokenizer.ggml.fim_mid_token_id": 1}, True),
        (
            ["a"],
            {f"tokenizer.ggml.{part}_token_id": 0 for part in ("prefix", "suffix", "middle")},
            True,
        ),
    ],
)
@pytest.mark.parametrize("padding", [0, 100_000])
def test_tokens_for_filling_in_are_found(
    path: Path, tokens: list[str], fields: dict[str, int], expected: bool, padding: int
) -> None:
    write_model(path, tokens=[*(f"t{n}" for n in range(padding)), *tokens], fields=fields)
    assert read_header(path).has_fim is expected


def test_other_chat_templates_are_found_by_name(path: Path) -> None:
    write_model(path, fields={"tokenizer.chat_template.tool_use": "{{ tools }}"})
    assert read_header(path).chat_templates == {
        "default": "{{ messages }}",
        "tool_use": "{{ tools }}",
    }


def test_fields_of_another_type_are_as_if_missing(path: Path) -> None:
    path.write_bytes(
        header(
            field("general.architecture", STRING, text("llama")),
            field("llama.context_length", STRING, text("long")),
            field("llama.embedding_length", BOOL, b"\x01"),
            field("general.file_type", FLOAT32, struct.pack("<f", 1)),
            field("tokenizer.chat_template", UINT32, struct.pack("<I", 1)),
        )
    )
    found = read_header(path)
    assert (found.context_length, found.embedding_length) == (0, 0)
    assert found.quantization_level == "unknown"
    assert found.chat_template is None


# -- tables


def test_sizes_are_those_of_the_reference() -> None:
    reference = {kind.value: (kind.name, *sizes) for kind, sizes in gguf.GGML_QUANT_SIZES.items()}
    assert {kind: tuple(block) for kind, block in ggml.BLOCKS.items()} == reference


def test_file_types_are_those_of_the_reference() -> None:
    reference = {
        one.value: one.name.removeprefix("MOSTLY_").removeprefix("ALL_")
        for one in gguf.LlamaFileType
        if one is not gguf.LlamaFileType.GUESSED
    }
    assert reference == ggml.FILE_TYPES


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (134_515_008, "134.52M"),
        (8_030_261_248, "8.0B"),
        (7_000_000_000, "7B"),
        (70_600_000_000, "70.6B"),
        (1_000_000, "1M"),
        (22_700, "23K"),
        (999, "999"),
    ],
)
def test_parameters_are_counted_as_ollama_shows_them(count: int, shown: str) -> None:
    assert ggml.parameter_size(count) == shown


# -- files that are not sound


def test_every_cut_of_a_file_is_noticed(path: Path) -> None:
    data = write_model(path).read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(ModelUnusable) as caught:
            read_header(path)
        if length >= 4:
            assert "cut short" in caught.value.message
            assert "again" in caught.value.hint


def test_a_cut_says_how_much_is_missing(path: Path) -> None:
    data = write_model(path).read_bytes()
    message = refused(path, data[:-1])
    assert message == (
        f"m.gguf is cut short: it has {len(data) - 1} bytes and needs at least {len(data)}"
    )


def test_a_file_that_holds_something_else(path: Path) -> None:
    assert refused(path, b"") == "m.gguf is empty"
    assert "not a GGUF file" in refused(path, b"GG")
    assert "not a GGUF file" in refused(path, b'{"a": 1}' * 100)
    assert "not a GGUF file" in refused(path, b"PK\x03\x04" * 100)
    assert "version 1" in refused(path, header(version=1))
    assert "version 50331648" in refused(path, b"GGUF" + struct.pack(">I", 3) + bytes(100))


def test_what_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(ModelUnusable, match="does not exist"):
        read_header(tmp_path / "none.gguf")
    with pytest.raises(ModelUnusable, match="is not a file"):
        read_header(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelUnusable, match="is not a file"):
        read_header(tmp_path / "pipe")  # would block for ever if it were opened
    with pytest.raises(ModelUnusable, match="cannot be read"):
        read_header(Path("a\x00b"))
    with pytest.raises(ModelUnusable, match="cannot be read"):
        read_header(tmp_path / ("x" * 300))


HUGE = 2**64 - 1
ONE = struct.pack("<Q", 1)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (header(tensors=HUGE), "claims"),
        (header(fields=HUGE), "claims"),
        (header(fields=70_000), "claims"),
        (header(text("a" * 5000)), "5000 bytes long"),
        (header(struct.pack("<Q", HUGE)), "impossible"),
        (header(struct.pack("<Q", 2**40)), "cut short"),
        (header(field("k", 13, b"")), "unknown type 13"),
        (header(field("k", ARRAY, struct.pack("<IQ", ARRAY, 1))), "values of type 9"),
        (header(field("k", ARRAY, struct.pack("<IQ", 99, 1))), "values of type 99"),
        (header(field("k", ARRAY, struct.pack("<IQ", UINT8, HUGE))), "impossible"),
        (header(field("k", ARRAY, struct.pack("<IQ", UINT64, 2**40))), "cut short"),
        (header(field("k", ARRAY, struct.pack("<IQ", STRING, 2**40))), "cut short"),
        (header(*[field("k", UINT8, b"\0")] * 2), "'k' is there twice"),
        (header(tensor("t", (1, 1, 1, 1, 1), 0, 0), tensors=1, fields=0), "5 dimensions"),
        (header(tensor("t", (2**32, 2**32), 0, 0), tensors=1, fields=0), "impossible shape"),
        (header(tensor("t", (33,), 2, 0), tensors=1, fields=0), "impossible shape"),
        (header(tensor("t", (4,), 0, 7), tensors=1, fields=0), "not aligned"),
        (header(tensor("t", (4,), 0, 2**62), tensors=1, fields=0), "cut short"),
        (
            header(*[tensor("t", (1,), 0, 0)] * 2, tensors=2, fields=0) + bytes(64),
            "the same name",
        ),
        (header(field("general.alignment", UINT32, struct.pack("<I", 0))), "alignment"),
        (header(field("general.alignment", UINT32, struct.pack("<I", 48))), "alignment"),
        (header(field("general.alignment", STRING, text("32"))), "alignment"),
    ],
)
def test_claims_are_held_against_limits(path: Path, data: bytes, why: str) -> None:
    assert why in refused(path, data)


def test_work_is_bounded_however_large_the_file_is(path: Path) -> None:
    """A sparse file of 8 GB backs every claim with zeros; nothing is built from it."""
    claims = [
        header(field("k", ARRAY, struct.pack("<IQ", STRING, 2**28))),
        header(field("k", STRING, struct.pack("<Q", 2**32))),
        header(struct.pack("<Q", 2**31)),
        header(tensors=2**17, fields=0),
    ]
    for claim in claims:
        path.write_bytes(claim)
        os.truncate(path, 8 << 30)
        tracemalloc.start()
        try:
            with pytest.raises(ModelUnusable):
                read_header(path)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 128 << 20


def test_kept_text_is_bounded_over_all_fields(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "MAX_TEXT_BYTES", 100)
    fields = [field(f"k{number}", STRING, text("x" * 60)) for number in range(2)]
    assert "more than 100 bytes" in refused(path, header(*fields))


def test_a_tensor_of_a_newer_type_does_not_condemn_a_file(path: Path) -> None:
    path.write_bytes(header(tensor("t", (5,), 99, 0), tensors=1, fields=0) + bytes(64))
    assert read_header(path, whole=True).tensors[0].type_name == "99"


def only_unusable(path: Path, data: bytes) -> GGUFHeader | None:
    path.write_bytes(data)
    try:
        return read_header(path, whole=len(data) % 2 == 0)
    except ModelUnusable:
        return None


RELAXED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@RELAXED
@given(data=st.binary(max_size=400))
def test_random_bytes(path: Path, data: bytes) -> None:
    only_unusable(path, data)
    only_unusable(path, b"GGUF\x03\0\0\0" + data)
    only_unusable(path, header(data, tensors=1, fields=1))


@RELAXED
@given(
    edits=st.lists(
        st.tuples(st.integers(4, 700), st.sampled_from([0, 1, 8, 9, 127, 128, 255])), max_size=6
    )
)
def test_damaged_files(path: Path, tmp_path: Path, edits: list[tuple[int, int]]) -> None:
    sound = tmp_path / "sound.gguf"
    if not sound.exists():
        write_model(sound, fields={"x.list": ["a", "b"]})
    data = bytearray(sound.read_bytes())
    for position, value in edits:
        data[position % len(data)] = value
    only_unusable(path, bytes(data))
