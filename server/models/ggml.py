"""Tables of ggml: how big its types are and what its files are called.

The numbers are part of the GGUF format: ids are never given to something else.
"""

from typing import NamedTuple


class Block(NamedTuple):
    """How one type stores numbers: so many of them in so many bytes."""

    name: str
    elements: int
    size_bytes: int


# type id -> how it is stored
BLOCKS: dict[int, Block] = {
    0: Block("F32", 1, 4),
    1: Block("F16", 1, 2),
    2: Block("Q4_0", 32, 18),
    3: Block("Q4_1", 32, 20),
    6: Block("Q5_0", 32, 22),
    7: Block("Q5_1", 32, 24),
    8: Block("Q8_0", 32, 34),
    9: Block("Q8_1", 32, 40),
    10: Block("Q2_K", 256, 84),
    11: Block("Q3_K", 256, 110),
    12: Block("Q4_K", 256, 144),
    13: Block("Q5_K", 256, 176),
    14: Block("Q6_K", 256, 210),
    15: Block("Q8_K", 256, 292),
    16: Block("IQ2_XXS", 256, 66),
    17: Block("IQ2_XS", 256, 74),
    18: Block("IQ3_XXS", 256, 98),
    19: Block("IQ1_S", 256, 50),
    20: Block("IQ4_NL", 32, 18),
    21: Block("IQ3_S", 256, 110),
    22: Block("IQ2_S", 256, 82),
    23: Block("IQ4_XS", 256, 136),
    24: Block("I8", 1, 1),
    25: Block("I16", 1, 2),
    26: Block("I32", 1, 4),
    27: Block("I64", 1, 8),
    28: Block("F64", 1, 8),
    29: Block("IQ1_M", 256, 56),
    30: Block("BF16", 1, 2),
    34: Block("TQ1_0", 256, 54),
    35: Block("TQ2_0", 256, 66),
    39: Block("MXFP4", 32, 17),
    40: Block("NVFP4", 64, 36),
    41: Block("Q1_0", 128, 18),
}

# general.file_type -> the name that people know the quantization by
FILE_TYPES: dict[int, str] = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4_MOE",
    39: "NVFP4",
    40: "Q1_0",
}

# The texts of the tokens for filling in the middle, as llama.cpp knows them when a file
# does not name their ids: prefix, suffix, middle.
FIM_TOKENS: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]] = (
    (
        *("<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>"),
        *("<｜fim▁begin｜>", "<PRE>", "▁<PRE>", "<|code_prefix|>"),
    ),
    (
        *("<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>"),
        *("<｜fim▁hole｜>", "<SUF>", "▁<SUF>", "<|code_suffix|>"),
    ),
    (
        *("<|fim_middle|>", "<fim-middle>", "<fim_middle>"),
        *("<｜fim▁end｜>", "<MID>", "▁<MID>", "<|code_middle|>"),
    ),
)


def parameter_size(count: int) -> str:
    """A number of parameters as Ollama writes it: "134.52M", "8.0B", "7B"."""
    if count >= 10**9:
        return f"{count // 10**9}B" if count % 10**9 == 0 else f"{count / 10**9:.1f}B"
    if count >= 10**6:
        return f"{count // 10**6}M" if count % 10**6 == 0 else f"{count / 10**6:.2f}M"
    return f"{count / 1000:.0f}K" if count >= 1000 else str(count)
