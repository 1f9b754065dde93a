"""Eyes for a model: a projector through llama.cpp's mtmd library.

`prepare` may be called by a second thread while `look` runs (mtmd: `mtmd_tokenize` is
thread-safe on a shared context). Nothing here opens a file but the projector.
"""

import ctypes
import os
from collections.abc import Sequence
from typing import Any

import llama_cpp
import numpy as np
from llama_cpp import mtmd_cpp
from numpy.typing import NDArray

from server.engine.backend import LoadError, RequestError
from server.engine.config import EngineConfig
from server.engine.looking import Picture, Seen
from server.engine.params import vision_params
from server.engine.pixels import Pixels

_TEXT = mtmd_cpp.MTMD_INPUT_CHUNK_TYPE_TEXT
_DIMENSIONS = 4  # of a position, where rows share one
_LARGE = 2048  # pixels on each side
_LEAST_LIMIT = 256  # rows; some projectors take no lower one


class LlamaPicture:
    """An image chunk of mtmd's, which belongs to whoever has it."""

    def __init__(self, chunk: Any) -> None:
        self._chunk = chunk
        self.num_rows: int = mtmd_cpp.mtmd_input_chunk_get_n_tokens(chunk)
        self.num_positions: int = mtmd_cpp.mtmd_input_chunk_get_n_pos(chunk)

    @property
    def pointer(self) -> Any:
        """The chunk itself. Raises ValueError after `close`."""
        if self._chunk is None:
            raise ValueError("the picture is closed")
        return self._chunk

    def close(self) -> None:
        chunk, self._chunk = self._chunk, None
        if chunk is not None:
            mtmd_cpp.mtmd_input_chunk_free(chunk)


class LlamaVision:
    """Implements `server.engine.looking.Eyes`. Raises `LoadError`."""

    def __init__(
        self, projector: str, model: int, config: EngineConfig, *, context: int, log: Any
    ) -> None:
        """For windows of `context` tokens. `log` is the callback that llama.cpp logs to; it must
        live as long as this."""
        mtmd_cpp.mtmd_log_set(log, ctypes.c_void_p(0))
        self._width: int = llama_cpp.llama_model_n_embd_inp(model)
        self._most_rows = min(config.micro_batch, config.batch)
        self._context = _open(projector, model, vision_params(config))
        most_rows = self._limit(context)
        if most_rows is not None:
            mtmd_cpp.mtmd_free(self._context)
            self._context = _open(projector, model, vision_params(config, most_rows=most_rows))
        self.shares_positions = bool(mtmd_cpp.mtmd_decode_use_mrope(self._context))

    def prepare(self, pixels: Pixels) -> Sequence[LlamaPicture | list[int]]:
        parts = self._cut_up(pixels)
        try:
            self._check(parts)
        except RequestError:
            _close(parts)
            raise
        return parts

    def look(self, picture: Picture) -> Seen:
        if not isinstance(picture, LlamaPicture):
            raise TypeError("only what was prepared here can be looked at")
        if mtmd_cpp.mtmd_encode_chunk(self._context, picture.pointer):
            raise RequestError("the model could not look at an image")
        output: Any = mtmd_cpp.mtmd_get_output_embd(self._context)
        rows = np.ctypeslib.as_array(output, (picture.num_rows, self._width)).copy()
        places = self._places(picture, 0)
        return Seen(rows, places, self._places(picture, 1) - places, self._is_causal(picture))

    def _limit(self, context: int) -> int | None:
        """The most rows of an image for which there is room, if a large one would have more.
        Raises `LoadError` if this model can take none."""
        try:
            parts = self._cut_up(np.zeros((_LARGE, _LARGE, 3), dtype=np.uint8))
        except RequestError as error:
            raise LoadError(f"the projector of this model does not fit: {error}") from None
        pictures = [part for part in parts if isinstance(part, LlamaPicture)]
        most = max(_LEAST_LIMIT, context // 2)
        if not all(self._is_causal(picture) for picture in pictures):
            most = min(most, max(_LEAST_LIMIT, self._most_rows))
        rows = max((picture.num_rows for picture in pictures), default=0)
        _close(parts)
        return most if rows > most else None

    def _cut_up(self, pixels: Pixels) -> list[LlamaPicture | list[int]]:
        chunks = mtmd_cpp.mtmd_input_chunks_init()
        try:
            self._tokenize(pixels, chunks)
            return _parts(chunks)
        finally:
            mtmd_cpp.mtmd_input_chunks_free(chunks)

    def _tokenize(self, pixels: Pixels, chunks: Any) -> None:
        height, width, _ = pixels.shape
        raw = np.ascontiguousarray(pixels)
        # Copied by mtmd.
        bitmap = mtmd_cpp.mtmd_bitmap_init(
            width, height, raw.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        )
        try:
            part = mtmd_cpp.mtmd_input_part(None, bitmap)
            parts = (ctypes.POINTER(mtmd_cpp.mtmd_input_part) * 1)(ctypes.pointer(part))
            code = mtmd_cpp.mtmd_tokenize_from_parts(self._context, chunks, parts, 1, False)
        finally:
            mtmd_cpp.mtmd_bitmap_free(bitmap)
        if code:
            raise RequestError(f"the model cannot take an image of {width} × {height} pixels")

    def _check(self, parts: Sequence[LlamaPicture | list[int]]) -> None:
        """llama.cpp ends the process for more rows than it computes at once, where each of them
        looks at all."""
        for part in parts:
            if isinstance(part, list) or part.num_rows <= self._most_rows:
                continue
            if not self._is_causal(part):
                raise RequestError(
                    f"an image has {part.num_rows} rows, at most {self._most_rows} are computed "
                    "at once: start the server with a larger --micro-batch"
                )

    def _is_causal(self, picture: LlamaPicture) -> bool:
        return not mtmd_cpp.mtmd_decode_use_non_causal(self._context, picture.pointer)

    def _places(self, picture: LlamaPicture, start: int) -> NDArray[np.int32]:
        """Positions of the rows of an image that begins at `start`, (dimensions, rows), in the
        order that llama.cpp wants: time, height, width, and one that is not used."""
        image = mtmd_cpp.mtmd_input_chunk_get_tokens_image(picture.pointer)
        found = (mtmd_cpp.mtmd_decoder_pos * picture.num_rows)()
        mtmd_cpp.mtmd_helper_image_get_decoder_pos(image, start, found)
        numbers = np.ctypeslib.as_array(
            ctypes.cast(found, ctypes.POINTER(ctypes.c_int32)), (picture.num_rows, _DIMENSIONS)
        )
        by_dimension = numbers[:, [0, 2, 1, 3]].T  # t, x, y, z
        return by_dimension.copy() if self.shares_positions else by_dimension[:1].copy()


def _open(projector: str, model: int, params: Any) -> Any:
    context = mtmd_cpp.mtmd_init_from_file(os.fsencode(projector), model, params)
    if not context:
        raise LoadError("llama.cpp cannot load the projector of this model")
    if not mtmd_cpp.mtmd_support_vision(context):
        raise LoadError("the projector of this model is not for images")
    return context


def _parts(chunks: Any) -> list[LlamaPicture | list[int]]:
    """What mtmd has made of an image, as our own. Raises `RequestError`."""
    parts: list[LlamaPicture | list[int]] = []
    try:
        for number in range(mtmd_cpp.mtmd_input_chunks_size(chunks)):
            chunk = mtmd_cpp.mtmd_input_chunks_get(chunks, number)
            is_text = mtmd_cpp.mtmd_input_chunk_get_type(chunk) == _TEXT
            parts.append(_text(chunk) if is_text else _picture(chunk))
    except RequestError:
        _close(parts)
        raise
    return parts


def _picture(chunk: Any) -> LlamaPicture:
    return LlamaPicture(mtmd_cpp.mtmd_input_chunk_copy(chunk))


def _close(parts: Sequence[LlamaPicture | list[int]]) -> None:
    for part in parts:
        if isinstance(part, LlamaPicture):
            part.close()


def _text(chunk: Any) -> list[int]:
    """The tokens around an image. Raises `RequestError` where the vocabulary lacks one."""
    count = ctypes.c_size_t(0)
    tokens: Any = mtmd_cpp.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(count))
    found = [int(token) for token in tokens[: count.value]]
    if any(token < 0 for token in found):
        raise RequestError("the model lacks the tokens that its projector puts around an image")
    return found
