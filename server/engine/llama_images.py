"""Images in a llama.cpp context: what was seen of them, and how their rows are decoded."""

from collections.abc import Sequence
from itertools import takewhile

import llama_cpp

from server.engine.backend import Row
from server.engine.image_tokens import is_image
from server.engine.llama_batch import ImageBatch
from server.engine.llama_vision import LlamaVision
from server.engine.looking import Looking, Seen
from server.engine.positions import Positions

_OK = 0


class LlamaImages:
    """What a context needs to take images. `batch` is the most rows of one decode."""

    def __init__(
        self, vision: LlamaVision, context: int, positions: Positions, *, batch: int
    ) -> None:
        self._shares_positions = vision.shares_positions
        self._context = context
        self._positions = positions
        self._batch = batch
        self.looking = Looking(vision)

    def decode(self, rows: Sequence[Row]) -> tuple[int, Sequence[Row]]:
        """Decode the image behind these rows of text, if there is one; what llama.cpp returned,
        and the rows of text, which are still to be decoded, where they stand for the model."""
        texts = list(takewhile(lambda row: not is_image(row.token), rows))
        code = self._decode_image(rows[len(texts) :]) if len(texts) < len(rows) else _OK
        if not self._shares_positions:
            return code, texts
        place = self._positions.of
        return code, [row._replace(position=place(row.slot, row.position)) for row in texts]

    def _decode_image(self, rows: Sequence[Row]) -> int:
        slot, start = rows[0].slot, rows[0].position
        tokens = [row.token for row in rows]
        seen = self.looking.seen(tokens)
        position = self._positions.of(slot, start)
        llama_cpp.llama_set_causal_attn(self._context, seen.is_causal)
        try:
            code = self._decode_parts(seen, slot, position)
        finally:
            llama_cpp.llama_set_causal_attn(self._context, True)
        if code == _OK:
            self._positions.add(slot, start, tokens)
        return code

    def _decode_parts(self, seen: Seen, slot: int, position: int) -> int:
        for start in range(0, len(seen.rows), self._batch):
            part = slice(start, start + self._batch)
            batch = ImageBatch(seen, part, slot=slot, position=position)
            code: int = llama_cpp.llama_decode(self._context, batch.struct)
            llama_cpp.llama_synchronize(self._context)
            if code:
                return code
        return _OK
