"""Model files of many shapes with nothing but zeros for weights.

The weights are a hole in the file, so a file of any size is made at once and takes no disk.
llama.cpp loads them, or only lays out its memory for them.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gguf
import numpy as np

from tests.support.gguf_files import add_field

_ALIGNMENT = 32
_PLAIN = {"F32": np.float32, "F16": np.float16}


class TensorPlan(NamedTuple):
    """A tensor as it is announced; `shape` has the rows first."""

    name: str
    shape: tuple[int, ...]
    kind: str = "F32"


class Model(NamedTuple):
    """What goes into a file. Keys of `fields` without a dot in front are the architecture's."""

    architecture: str
    fields: Mapping[str, Any]
    tensors: Sequence[TensorPlan]
    vocab: int


class Dims(NamedTuple):
    """The sizes that the shapes have in common."""

    width: int = 512
    layers: int = 4
    heads: int = 8
    kv_heads: int = 4
    head: int = 64
    feed_forward: int = 1024
    experts: int = 16
    used: int = 4
    expert: int = 512
    inner: int = 1024
    vocab: int = 4000
    context: int = 32768
    kind: str = "F16"


def write_shaped(path: Path, model: Model) -> Path:
    """Write a model whose weights are a hole."""
    writer = gguf.GGUFWriter(path, model.architecture)
    for key, value in model.fields.items():
        plain = key.startswith(("general.", "tokenizer."))
        add_field(writer, key if plain else f"{model.architecture}.{key}", value)
    _add_vocabulary(writer, model.vocab)
    size = sum(_announce(writer, tensor) for tensor in model.tensors)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    start = -(-path.stat().st_size // _ALIGNMENT) * _ALIGNMENT
    os.truncate(path, start + size)
    return path


def _add_vocabulary(writer: gguf.GGUFWriter, count: int) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([f"t{number}" for number in range(count)])
    writer.add_token_types([gguf.TokenType.NORMAL] * count)
    writer.add_token_merges(["t 0"])


def _announce(writer: gguf.GGUFWriter, tensor: TensorPlan) -> int:
    """Its place in the header; the bytes that it takes in the file."""
    kind = gguf.GGMLQuantizationType[tensor.kind]
    elements, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    size = int(np.prod(tensor.shape)) // elements * block_bytes
    plain = _PLAIN.get(tensor.kind)
    stored = np.dtype(plain or np.uint8)
    columns = tensor.shape[-1] if plain else tensor.shape[-1] // elements * block_bytes
    shape = (*tensor.shape[:-1], columns)
    writer.add_tensor_info(tensor.name, shape, stored, size, raw_dtype=kind)
    return -(-size // _ALIGNMENT) * _ALIGNMENT


# -- parts of layers


def _fields(dims: Dims, **more: Any) -> dict[str, Any]:
    return {
        "context_length": dims.context,
        "embedding_length": dims.width,
        "block_count": dims.layers,
        "feed_forward_length": dims.feed_forward,
        "attention.head_count": dims.heads,
        "attention.head_count_kv": dims.kv_heads,
        "attention.key_length": dims.head,
        "attention.value_length": dims.head,
        "attention.layer_norm_rms_epsilon": 1e-5,
    } | {key.replace("__", "."): value for key, value in more.items()}


def _norms(block: str, width: int, *names: str) -> Iterator[TensorPlan]:
    for name in names:
        yield TensorPlan(f"{block}{name}", (width,))


def _attention(block: str, dims: Dims) -> Iterator[TensorPlan]:
    queries, kept = dims.heads * dims.head, dims.kv_heads * dims.head
    yield TensorPlan(f"{block}attn_q.weight", (queries, dims.width), dims.kind)
    yield TensorPlan(f"{block}attn_k.weight", (kept, dims.width), dims.kind)
    yield TensorPlan(f"{block}attn_v.weight", (kept, dims.width), dims.kind)
    yield TensorPlan(f"{block}attn_output.weight", (dims.width, queries), dims.kind)


def _dense(block: str, dims: Dims) -> Iterator[TensorPlan]:
    up, down = (dims.feed_forward, dims.width), (dims.width, dims.feed_forward)
    yield TensorPlan(f"{block}ffn_gate.weight", up, dims.kind)
    yield TensorPlan(f"{block}ffn_up.weight", up, dims.kind)
    yield TensorPlan(f"{block}ffn_down.weight", down, dims.kind)


def _experts(block: str, dims: Dims) -> Iterator[TensorPlan]:
    up = (dims.experts, dims.expert, dims.width)
    yield TensorPlan(f"{block}ffn_gate_inp.weight", (dims.experts, dims.width))
    yield TensorPlan(f"{block}ffn_gate_exps.weight", up, dims.kind)
    yield TensorPlan(f"{block}ffn_up_exps.weight", up, dims.kind)
    down = (dims.experts, dims.width, dims.expert)
    yield TensorPlan(f"{block}ffn_down_exps.weight", down, dims.kind)


def _model(
    architecture: str,
    dims: Dims,
    fields: Mapping[str, Any],
    layers: Iterator[TensorPlan],
    *,
    outer: Sequence[str] = ("output_norm.weight",),
) -> Model:
    embedding = TensorPlan("token_embd.weight", (dims.vocab, dims.width), dims.kind)
    return Model(
        architecture, fields, [embedding, *_norms("", dims.width, *outer), *layers], dims.vocab
    )


def _blocks(dims: Dims) -> list[str]:
    return [f"blk.{number}." for number in range(dims.layers)]


# -- shapes


def llama(dims: Dims = Dims(), **more: Any) -> Model:  # noqa: B008 (a tuple)
    """Attention with grouped heads and a dense layer each."""
    layers = (
        tensor
        for block in _blocks(dims)
        for tensor in (
            *_norms(block, dims.width, "attn_norm.weight", "ffn_norm.weight"),
            *_attention(block, dims),
            *_dense(block, dims),
        )
    )
    fields = _fields(dims, rope__dimension_count=dims.head, **more)
    return _model("llama", dims, fields, layers)


def gemma(dims: Dims = Dims(layers=7), version: int = 3, window: int = 512) -> Model:  # noqa: B008
    """Windows in all layers but each sixth (version 3) or second (version 2)."""
    names = ("attn_norm", "ffn_norm", "post_attention_norm", "post_ffw_norm")
    heads = ("attn_q_norm.weight", "attn_k_norm.weight") if version == 3 else ()
    layers = (
        tensor
        for block in _blocks(dims)
        for tensor in (
            *_norms(block, dims.width, *(f"{name}.weight" for name in names)),
            *_norms(block, dims.head, *heads),
            *_attention(block, dims),
            *_dense(block, dims),
        )
    )
    fields = _fields(dims, attention__sliding_window=window)
    return _model(f"gemma{version}", dims, fields, layers)


def mixture(dims: Dims = Dims()) -> Model:  # noqa: B008
    """Qwen 3's mixture of experts."""
    layers = (
        tensor
        for block in _blocks(dims)
        for tensor in (
            *_norms(block, dims.width, "attn_norm.weight", "ffn_norm.weight"),
            *_norms(block, dims.head, "attn_q_norm.weight", "attn_k_norm.weight"),
            *_attention(block, dims),
            *_experts(block, dims),
        )
    )
    return _model("qwen3moe", dims, _fields(dims, **_expert_fields(dims)), layers)


def _expert_fields(dims: Dims) -> dict[str, int]:
    return {
        "expert_count": dims.experts,
        "expert_used_count": dims.used,
        "expert_feed_forward_length": dims.expert,
    }


def latent(dims: Dims = Dims()) -> Model:  # noqa: B008
    """DeepSeek 2's latent attention: keys of one head for all, and no values."""
    rank, rope, plain, value, query = 512, 64, 128, 128, 256
    fields = _fields(
        dims,
        **_expert_fields(dims),
        expert_shared_count=1,
        expert_gating_func=2,
        expert_weights_scale=1.0,
        leading_dense_block_count=dims.layers,
        attention__q_lora_rank=query,
        attention__kv_lora_rank=rank,
        attention__key_length_mla=plain + rope,
        attention__value_length_mla=value,
        rope__dimension_count=rope,
    )
    fields |= {
        "attention.head_count_kv": 1,
        "attention.key_length": rank + rope,
        "attention.value_length": rank,
    }
    heads, width, kind = dims.heads, dims.width, dims.kind
    layers = (
        tensor
        for block in _blocks(dims)
        for tensor in (
            *_norms(block, width, "attn_norm.weight", "ffn_norm.weight"),
            *_norms(block, query, "attn_q_a_norm.weight"),
            *_norms(block, rank, "attn_kv_a_norm.weight"),
            TensorPlan(f"{block}attn_q_a.weight", (query, width), kind),
            TensorPlan(f"{block}attn_q_b.weight", (heads * (plain + rope), query), kind),
            TensorPlan(f"{block}attn_kv_a_mqa.weight", (rank + rope, width), kind),
            TensorPlan(f"{block}attn_k_b.weight", (heads, rank, plain), kind),
            TensorPlan(f"{block}attn_v_b.weight", (heads, value, rank), kind),
            TensorPlan(f"{block}attn_output.weight", (width, heads * value), kind),
            *_dense(block, dims),
        )
    )
    outer = TensorPlan("output.weight", (dims.vocab, width), kind)
    return _model("deepseek2", dims, fields, iter([outer, *layers]))


_KERNEL, _STATE, _GROUPS = 4, 128, 1


def _mamba2(block: str, dims: Dims) -> Iterator[TensorPlan]:
    heads, convolved = dims.inner // 64, dims.inner + 2 * _GROUPS * _STATE
    entering = 2 * dims.inner + 2 * _GROUPS * _STATE + heads
    yield TensorPlan(f"{block}ssm_in.weight", (entering, dims.width), dims.kind)
    yield TensorPlan(f"{block}ssm_conv1d.weight", (convolved, _KERNEL))
    yield TensorPlan(f"{block}ssm_conv1d.bias", (convolved,))
    yield TensorPlan(f"{block}ssm_dt.bias", (heads,))
    yield TensorPlan(f"{block}ssm_a", (heads, 1))
    yield TensorPlan(f"{block}ssm_d", (heads, 1))
    yield TensorPlan(f"{block}ssm_norm.weight", (_GROUPS, dims.inner // _GROUPS))
    yield TensorPlan(f"{block}ssm_out.weight", (dims.width, dims.inner), dims.kind)


def _state_fields(dims: Dims) -> dict[str, int]:
    return {
        "ssm.conv_kernel": _KERNEL,
        "ssm.inner_size": dims.inner,
        "ssm.state_size": _STATE,
        "ssm.time_step_rank": dims.inner // 64,
        "ssm.group_count": _GROUPS,
    }


def recurrent(dims: Dims = Dims()) -> Model:  # noqa: B008
    """Mamba 2: states instead of a cache."""
    layers = (
        tensor
        for block in _blocks(dims)
        for tensor in (
            *_norms(block, dims.width, "attn_norm.weight"),
            *_mamba2(block, dims),
        )
    )
    fields = _fields(dims, attention__head_count=0) | _state_fields(dims)
    fields |= {"attention.head_count_kv": 0, "feed_forward_length": 0}
    return _model("mamba2", dims, fields, layers)


def hybrid(dims: Dims = Dims()) -> Model:  # noqa: B008
    """Granite 4: a layer with states, then one with a cache."""
    layers = (
        tensor
        for number, block in enumerate(_blocks(dims))
        for tensor in (
            *_norms(block, dims.width, "attn_norm.weight", "ffn_norm.weight"),
            *(_attention(block, dims) if number % 2 else _mamba2(block, dims)),
            *_dense(block, dims),
        )
    )
    scales = ("embedding_scale", "residual_scale", "logit_scale", "attention.scale")
    fields = _fields(dims) | _state_fields(dims) | dict.fromkeys(scales, 1.0)
    fields["attention.head_count_kv"] = [dims.kv_heads * (n % 2) for n in range(dims.layers)]
    return _model("granitehybrid", dims, fields, layers)


def convolved(dims: Dims = Dims()) -> Model:  # noqa: B008
    """LFM 2: short convolutions, then attention."""
    layers = (
        tensor
        for number, block in enumerate(_blocks(dims))
        for tensor in (
            *_norms(block, dims.width, "attn_norm.weight", "ffn_norm.weight"),
            *(_with_norms(block, dims) if number % 2 else _convolution(block, dims)),
            *_dense(block, dims),
        )
    )
    fields = _fields(dims, shortconv__l_cache=3)
    fields["attention.head_count_kv"] = [dims.kv_heads * (n % 2) for n in range(dims.layers)]
    return _model("lfm2", dims, fields, layers, outer=("token_embd_norm.weight",))


def _with_norms(block: str, dims: Dims) -> Iterator[TensorPlan]:
    yield from _norms(block, dims.head, "attn_q_norm.weight", "attn_k_norm.weight")
    yield from _attention(block, dims)


def _convolution(block: str, dims: Dims) -> Iterator[TensorPlan]:
    width = dims.width
    yield TensorPlan(f"{block}shortconv.conv.weight", (width, 3))
    yield TensorPlan(f"{block}shortconv.in_proj.weight", (3 * width, width), dims.kind)
    yield TensorPlan(f"{block}shortconv.out_proj.weight", (width, width), dims.kind)


def both_ways(dims: Dims = Dims(context=512)) -> Model:  # noqa: B008
    """BERT: vectors only, attention looks both ways, nothing is kept."""
    width, kind = dims.width, dims.kind
    names = ("attn_q", "attn_k", "attn_v", "attn_output")
    up, down = (dims.feed_forward, width), (width, dims.feed_forward)
    layers = (
        tensor
        for block in _blocks(dims)
        for tensor in (
            *(TensorPlan(f"{block}{name}.weight", (width, width), kind) for name in names),
            *_norms(block, width, *(f"{name}.bias" for name in (*names, "ffn_down"))),
            *_norms(block, dims.feed_forward, "ffn_up.bias"),
            TensorPlan(f"{block}ffn_up.weight", up, kind),
            TensorPlan(f"{block}ffn_down.weight", down, kind),
            *_norms(block, width, "attn_output_norm.weight", "attn_output_norm.bias"),
            *_norms(block, width, "layer_output_norm.weight", "layer_output_norm.bias"),
        )
    )
    fields = _fields(dims, attention__layer_norm_epsilon=1e-5, attention__causal=False)
    fields |= {"pooling_type": 1, "tokenizer.ggml.token_type_count": 2}
    outer = [
        TensorPlan("token_types.weight", (2, width)),
        TensorPlan("position_embd.weight", (dims.context, width)),
    ]
    names_outside = ("token_embd_norm.weight", "token_embd_norm.bias")
    return _model("bert", dims, fields, iter([*outer, *layers]), outer=names_outside)
