"""What a `config.json` of Hugging Face's transformers says of a model's shape."""

from typing import Any

import msgspec

from server.models.shape import Layer, Shape

_MOST = 1 << 40  # of what a config says; more is nonsense


class Config:
    """A `config.json`; of a model that sees, what it says of its text."""

    def __init__(self, fields: dict[str, Any]) -> None:
        inner = fields.get("text_config")
        self._outer = fields
        self._fields = fields | inner if isinstance(inner, dict) else fields

    def number(self, *keys: str) -> int:
        """The first of these fields that is a number; 0 if none is."""
        found = (self._fields.get(key) for key in keys)
        numbers = (one for one in found if isinstance(one, int) and not isinstance(one, bool))
        return min(max(0, next(numbers, 0)), _MOST)

    def text(self, key: str) -> str:
        """A field that should be text; empty if it is not."""
        value = self._fields.get(key)
        return value if isinstance(value, str) else ""

    def has(self, key: str) -> bool:
        """Whether a field is true."""
        return self._fields.get(key) is True

    def denies(self, key: str) -> bool:
        """Whether a field is false."""
        return self._fields.get(key) is False

    def texts(self, key: str) -> list[str]:
        """A field that should be a list of texts."""
        value = self._fields.get(key)
        return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []

    @property
    def architecture(self) -> str:
        """Such as "LlamaForCausalLM"; the kind of model where it is not said."""
        return next(iter(self.texts("architectures")), "") or self.text("model_type")

    @property
    def precision(self) -> str:
        """Such as "bfloat16", "fp8", "awq 4 bits"."""
        quantized = self._outer.get("quantization_config") or self._fields.get(
            "quantization_config"
        )
        if isinstance(quantized, dict):
            bits = quantized.get("bits")
            method = str(quantized.get("quant_method", "quantized"))
            return f"{method} {bits} bits" if isinstance(bits, int) else method
        return self.text("dtype") or self.text("torch_dtype") or "unknown"


def shape_of(config: Config) -> Shape:
    """The shape of a model; what is not said counts as nothing."""
    heads = config.number("num_attention_heads", "n_head")
    width = config.number("hidden_size", "n_embd", "d_model")
    head = config.number("head_dim") or (width // heads if heads else 0)
    forward = config.number("intermediate_size", "ffn_hidden_size", "n_inner") or 4 * width
    experts = config.number("num_local_experts", "num_experts", "n_routed_experts")
    return Shape(
        architecture=config.architecture,
        layers=_layers(config, heads, head),
        width=width,
        heads=heads,
        queries=2 * heads * head,
        feed_forward=forward,
        vocab=config.number("vocab_size"),
        context=config.number("max_position_embeddings", "n_positions", "seq_length"),
        window=_window(config),
        experts=experts,
        experts_used=config.number("num_experts_per_tok", "moe_topk"),
        expert_feed_forward=(config.number("moe_intermediate_size") or forward) if experts else 0,
    )


def _window(config: Config) -> int:
    return 0 if config.denies("use_sliding_window") else config.number("sliding_window")


def _layers(config: Config, heads: int, head: int) -> tuple[Layer, ...]:
    count = min(config.number("num_hidden_layers", "n_layer", "num_layers"), 1 << 12)
    kinds = config.texts("layer_types")
    kv_heads = config.number("num_key_value_heads") or (1 if config.has("multi_query") else heads)
    if rank := config.number("kv_lora_rank"):
        latent = Layer(kv_heads=1, key_length=rank + config.number("qk_rope_head_dim"))
        return (latent,) * count
    full = Layer(kv_heads=kv_heads, key_length=head, value_length=head)
    windowed = msgspec.structs.replace(full, is_windowed=True)
    recurrent = Layer(state=_state(config))
    of_kind = {"sliding_attention": windowed, "chunked_attention": windowed}
    of_kind |= {"linear_attention": recurrent, "mamba": recurrent, "conv": recurrent}
    if len(kinds) == count:
        return tuple(of_kind.get(kind, full) for kind in kinds)
    period = config.number("sliding_window_pattern", "_sliding_window_pattern")
    if not _window(config):
        return (full,) * count
    if not period:
        return (windowed,) * count
    return tuple(full if (index + 1) % period == 0 else windowed for index in range(count))


def _state(config: Config) -> int:
    """Numbers that a recurrent layer keeps: of delta networks, or of Mamba."""
    values = config.number("linear_num_value_heads") * config.number("linear_value_head_dim")
    keys = config.number("linear_key_head_dim")
    inner = config.number("mamba_expand") * config.number("hidden_size")
    return values * keys or inner * (config.number("mamba_d_state") or 1)
