"""What the size of a model's memory depends on: its layers, read from the header of its file.

The rules are llama.cpp's (`llama_hparams`, `load_arch_hparams` of each architecture, and
`llama_model::create_memory`). An architecture that is not known is taken for plain attention
in every layer, which needs the most.
"""

from collections.abc import Sequence

import msgspec

from server.models.gguf import GGUFHeader
from server.models.windows import window_of, windowed_layers


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """What one layer keeps: of each token keys and values, of each sequence a state.

    `index_length` are numbers kept beside the keys to choose among them, `is_windowed` says
    that only a window of tokens is kept, `state` counts numbers of 32 bits.
    """

    kv_heads: int = 0
    key_length: int = 0
    value_length: int = 0
    index_length: int = 0
    is_windowed: bool = False
    state: int = 0

    @property
    def keys(self) -> int:
        """Numbers of the keys of a token."""
        return self.kv_heads * self.key_length

    @property
    def values(self) -> int:
        """Numbers of the values of a token."""
        return self.kv_heads * self.value_length


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """The sizes of a model.

    `width` is that of its embeddings, `queries` counts the numbers between the embedding of a
    token and its attention, `feed_forward` is the width of the widest dense layer, `inner` that
    inside of a recurrent one, `convolved` that of its convolution, `rank` of its time steps.
    Of `experts` networks of `expert_feed_forward`, `experts_used` compute a token.
    `has_memory` is false where nothing is kept, `is_causal` where a token sees later ones,
    `is_gated` where a dense layer has no gate.
    """

    architecture: str
    layers: tuple[Layer, ...]
    width: int
    heads: int
    queries: int
    feed_forward: int
    vocab: int
    context: int
    window: int = 0
    experts: int = 0
    experts_used: int = 0
    expert_feed_forward: int = 0
    inner: int = 0
    convolved: int = 0
    rank: int = 0
    has_memory: bool = True
    is_causal: bool = True
    is_gated: bool = True
    only_embeds: bool = False
    computes_scores: bool = False

    @property
    def has_state(self) -> bool:
        """Whether some layer is recurrent."""
        return any(layer.state for layer in self.layers)


_RECURRENT = frozenset({"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"})
# Recurrent are the layers without KV heads, …
_HYBRID_BY_HEADS = frozenset(
    {
        *("jamba", "plamo2", "granitehybrid", "lfm2", "lfm2moe", "nemotron_h", "nemotron_h_moe"),
        *("kimi-linear", "kimi-k3", "glm5-next", "bailingmoe3"),
    }
)
# … or those of a list, or all but each n-th.
_HYBRID_BY_INTERVAL = {
    "qwen3next": 4,
    "qwen35": 4,
    "qwen35moe": 4,
    "qwen4exp": 4,
    "minimax-01": 8,
}
_BOTH_IN_EACH = "falcon-h1"
_MEMORYLESS = frozenset(
    {
        *("bert", "jina-bert-v2", "jina-bert-v3", "nomic-bert", "nomic-bert-moe", "neo-bert"),
        *("eurobert", "modern-bert", "gemma-embedding", "dream", "llada", "llada-moe", "rnd1"),
        *("wavtokenizer-dec", "t5encoder"),
    }
)
_SCORING = frozenset({"grok"})  # flash attention is never used for it
_GEMMA3N_KEPT = 20  # layers with a cache of their own


def read_shape(header: GGUFHeader) -> Shape:
    """The shape of a model, as llama.cpp reads it. Never raises: what a file does not say
    counts as nothing."""
    return _Reader(header).read()


class _Reader:
    def __init__(self, header: GGUFHeader) -> None:
        self._header = header
        self._kind = header.architecture
        self._count = min(self._number("block_count"), 1 << 12)
        self._heads = self._listed("attention.head_count")
        self._kv_heads = self._listed("attention.head_count_kv", self._heads)
        self._trained_count = max(0, self._count - self._number("nextn_predict_layers"))

    def read(self) -> Shape:
        header = self._header
        window, flags = window_of(header), windowed_layers(header, self._count)
        layers = tuple(self._layer(index, flags[index]) for index in range(self._count))
        return Shape(
            architecture=self._kind,
            layers=layers,
            width=header.embedding_length,
            heads=max(self._heads, default=0),
            queries=self._queries(),
            feed_forward=self._number_or_largest("feed_forward_length"),
            vocab=header.vocab_size,
            context=header.context_length,
            window=window if any(layer.is_windowed for layer in layers) else 0,
            experts=self._number("expert_count"),
            experts_used=self._number_or_largest("expert_used_count"),
            expert_feed_forward=self._number_or_largest("expert_feed_forward_length")
            or self._number_or_largest("feed_forward_length"),
            inner=self._number("ssm.inner_size"),
            convolved=self._convolved(),
            rank=self._number("ssm.time_step_rank"),
            has_memory=self._kind not in _MEMORYLESS,
            is_causal=header.metadata.get(f"{self._kind}.attention.causal") is not False,
            is_gated=self._kind != "bert",
            only_embeds=header.only_embeds,
            computes_scores=self._kind in _SCORING,
        )

    # -- fields

    def _number(self, key: str) -> int:
        return max(0, self._header.of_architecture(key) or 0)

    def _listed(self, key: str, default: Sequence[int] = ()) -> list[int]:
        """A number for each layer: the file says one for all, or a list."""
        said = self._header.metadata.get(f"{self._kind}.{key}")
        if isinstance(said, list):
            numbers = [max(0, each) if isinstance(each, int) else 0 for each in said]
            return [*numbers, *[0] * self._count][: self._count]
        if isinstance(said, int) and not isinstance(said, bool):
            return [max(0, said)] * self._count
        return list(default) or [0] * self._count

    def _number_or_largest(self, key: str) -> int:
        return max(self._listed(key), default=0)

    def _length(self, key: str, suffix: str = "") -> int:
        """Numbers of a head's keys or values; `suffix` for another kind of layer."""
        heads = self._heads[0] if self._heads else 0
        if not heads:
            return 0
        plain = self._header.of_architecture(f"attention.{key}_length")
        length = self._header.of_architecture(f"attention.{key}_length{suffix}")
        width = self._header.embedding_length // heads
        return max(0, next((one for one in (length, plain) if one is not None), width))

    def _queries(self) -> int:
        """Queries and results of all heads. With latent attention (MLA) they meet latent keys,
        and are there in both forms."""
        heads = max(self._heads, default=0)
        if self._is_latent():
            both = ("key_length", "value_length", "key_length_mla", "value_length_mla")
            widths = sum(self._number(f"attention.{one}") for one in both)
            return heads * widths + self._header.embedding_length
        # Each result of some is gated, by as many numbers.
        number = 4 if self._kind in _HYBRID_BY_INTERVAL else 2
        return number * heads * max(self._length("key"), self._length("key", "_swa"))

    def _is_latent(self) -> bool:
        return bool(self._number("attention.key_length_mla"))

    # -- layers

    def _layer(self, index: int, is_windowed: bool) -> Layer:
        if index >= self._trained_count:
            return Layer()  # it predicts further tokens, for which no memory is made
        has_state, has_cache = self._is_recurrent(index), self._has_cache(index)
        state = self._state(self._heads[index]) if has_state else 0
        if not has_cache:
            return Layer(state=state)
        suffix = "_swa" if is_windowed else ""
        return Layer(
            kv_heads=self._kv_heads[index],
            key_length=self._length("key", suffix),
            value_length=0 if self._is_latent() else self._length("value", suffix),
            index_length=self._number("attention.indexer.key_length"),
            is_windowed=is_windowed,
            state=state,
        )

    def _is_recurrent(self, index: int) -> bool:
        if self._kind in _RECURRENT or self._kind == _BOTH_IN_EACH:
            return True
        if self._kind in _HYBRID_BY_HEADS:
            is_feed_forward = self._kind.startswith("nemotron") and self._feeds_forward(index)
            return self._kv_heads[index] == 0 and not is_feed_forward
        return self._kind in _HYBRID_BY_INTERVAL and self._is_between(index)

    def _is_between(self, index: int) -> bool:
        said = self._header.metadata.get(f"{self._kind}.attention.recurrent_layers")
        if isinstance(said, list):
            return index < len(said) and bool(said[index])
        default = _HYBRID_BY_INTERVAL[self._kind]
        interval = self._number("full_attention_interval") or default
        return (index + 1) % interval != 0

    def _feeds_forward(self, index: int) -> bool:
        return self._listed("feed_forward_length")[index] > 0

    def _has_cache(self, index: int) -> bool:
        if self._kind in _MEMORYLESS or self._kind in _RECURRENT:
            return False
        if self._kind == "gemma3n":
            return index < _GEMMA3N_KEPT
        if self._kind == "gemma4":
            return index < self._count - self._number("attention.shared_kv_layers")
        if self._kind in _HYBRID_BY_INTERVAL and self._is_between(index):
            return False
        return self._kv_heads[index] > 0

    # -- states

    def _state(self, heads: int) -> int:
        """Numbers that a recurrent layer keeps of a sequence (`n_embd_r` + `n_embd_s`)."""
        width = self._header.embedding_length
        if head := self._number("wkv.head_size"):
            return (self._number("token_shift_count") or 2) * width + width * head
        if kept := self._number("shortconv.l_cache"):
            return width * (kept - 1)
        kernel = self._number("ssm.conv_kernel")
        if head := self._number("kda.head_dim"):
            return 3 * ((kernel - 1) if kernel else 3) * heads * head + heads * head * head
        inner, size = self._number("ssm.inner_size"), self._number("ssm.state_size")
        if self._kind == "minimax-01":
            return self._length("key") ** 2 * heads
        groups = self._number("ssm.group_count")
        return max(0, kernel - 1) * (inner + 2 * groups * size) + size * inner

    def _convolved(self) -> int:
        groups, size = self._number("ssm.group_count"), self._number("ssm.state_size")
        return self._number("ssm.inner_size") + 2 * groups * size
