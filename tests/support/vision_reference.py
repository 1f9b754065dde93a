"""What llama.cpp's own helper makes of a prompt with images: the yardstick for ours.

A program: the paths of model and projector, then JSON on the standard input: `parts` (a text,
or an image as [width, height, hex of its RGB bytes]) and `count`. It prints the greedy tokens
and the logarithm of the probability of the first one as JSON.
"""

import ctypes
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def reference(
    model: Path, projector: Path, parts: Sequence[str | Pixels], *, count: int
) -> tuple[list[int], float]:
    """The first `count` greedy tokens, or those before the end of the text, and how likely the
    first one was as a logarithm; computed in a process of its own."""
    asked = {"parts": [_written(part) for part in parts], "count": count}
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.vision_reference", str(model), str(projector)],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
    )
    tokens, logprob = json.loads(done.stdout.splitlines()[-1])
    return [int(token) for token in tokens], float(logprob)


def _written(part: str | Pixels) -> str | list[Any]:
    return part if isinstance(part, str) else [part.shape[1], part.shape[0], part.tobytes().hex()]


def main() -> None:
    """Read, compute, print."""
    import llama_cpp
    from llama_cpp import mtmd_cpp

    asked = json.load(sys.stdin)
    model: Any = llama_cpp.llama_model_load_from_file(
        sys.argv[1].encode(), llama_cpp.llama_model_default_params()
    )
    params = llama_cpp.llama_context_default_params()
    params.n_ctx, params.n_threads, params.n_threads_batch = 512, 1, 1
    context: Any = llama_cpp.llama_init_from_model(model, params)
    vision: Any = mtmd_cpp.mtmd_init_from_file(
        sys.argv[2].encode(), model, mtmd_cpp.mtmd_context_params_default()
    )
    text, bitmaps = "", []
    for part in asked["parts"]:
        if isinstance(part, str):
            text += part
            continue
        text += mtmd_cpp.mtmd_default_marker().decode()
        width, height, pixels = part[0], part[1], bytes.fromhex(part[2])
        raw = (ctypes.c_uint8 * len(pixels)).from_buffer_copy(pixels)
        bitmaps.append(mtmd_cpp.mtmd_bitmap_init(width, height, raw))
    encoded = text.encode()
    chunks: Any = mtmd_cpp.mtmd_input_chunks_init()
    given = mtmd_cpp.mtmd_input_text(encoded, len(encoded), True, True)
    array = (mtmd_cpp.mtmd_bitmap_p_ctypes * len(bitmaps))(*bitmaps)
    if mtmd_cpp.mtmd_tokenize(vision, chunks, ctypes.byref(given), array, len(bitmaps)):
        raise SystemExit("llama.cpp refused the prompt")
    past = ctypes.c_int32(0)
    if mtmd_cpp.mtmd_helper_eval_chunks(
        vision, context, chunks, 0, 0, 512, True, ctypes.byref(past)
    ):
        raise SystemExit("llama.cpp refused the batch")
    logits = _logits(context, model).astype(np.float64)
    logprob = float(logits.max() - np.log(np.exp(logits).sum()))
    print(json.dumps([_continue(context, model, past.value, asked["count"]), logprob]))


def _logits(context: Any, model: Any) -> NDArray[np.float32]:
    import llama_cpp

    size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    return np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, -1), (size,))


def _continue(context: Any, model: Any, position: int, count: int) -> list[int]:
    import llama_cpp

    vocab = llama_cpp.llama_model_get_vocab(model)
    batch = llama_cpp.llama_batch_init(1, 0, 1)
    tokens: list[int] = []
    while True:
        token = int(np.argmax(_logits(context, model)))
        if len(tokens) == count or llama_cpp.llama_vocab_is_eog(vocab, token):
            return tokens
        tokens.append(token)
        batch.n_tokens, batch.token[0], batch.pos[0] = 1, tokens[-1], position
        batch.n_seq_id[0], batch.seq_id[0][0], batch.logits[0] = 1, 0, 1
        position += 1
        if llama_cpp.llama_decode(context, batch):
            raise SystemExit("llama.cpp refused a token")


if __name__ == "__main__":
    main()
