"""Rows of a batch in the form of llama.cpp."""

import ctypes
from collections.abc import Sequence

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from server.engine.backend import Row
from server.engine.looking import Seen

_INT32 = ctypes.POINTER(ctypes.c_int32)


class LlamaBatch:
    """A llama_batch over numpy arrays, filled without a C call per row."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._tokens = np.zeros(size, dtype=np.int32)
        self._positions = np.zeros(size, dtype=np.int32)
        self._counts = np.ones(size, dtype=np.int32)
        self._slots = np.zeros(size, dtype=np.int32)
        self._slot_pointers = (ctypes.POINTER(ctypes.c_int32) * size)(
            *(
                ctypes.cast(self._slots.ctypes.data + 4 * i, ctypes.POINTER(ctypes.c_int32))
                for i in range(size)
            )
        )
        self._wants = np.zeros(size, dtype=np.int8)
        self.struct = llama_cpp.llama_batch(
            n_tokens=0,
            token=self._tokens.ctypes.data_as(_INT32),
            embd=None,
            pos=self._positions.ctypes.data_as(_INT32),
            n_seq_id=self._counts.ctypes.data_as(_INT32),
            seq_id=self._slot_pointers,
            logits=self._wants.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )

    def fill(self, rows: Sequence[Row]) -> None:
        """Take over the rows; at most `size` of them, or llama.cpp aborts the process."""
        count = len(rows)
        if count > self.size:
            raise ValueError(f"{count} rows in a batch of {self.size}")
        # One array of all fields takes three times as long for the few rows of a decode step.
        slots, positions, tokens, wants = zip(*rows, strict=True)
        self._slots[:count] = slots
        self._positions[:count] = positions
        self._tokens[:count] = tokens
        self._wants[:count] = wants
        self.struct.n_tokens = count


class ImageBatch:
    """A llama_batch of some rows of an image, which is at `position` of a slot. No logits."""

    def __init__(self, seen: Seen, rows: slice, *, slot: int, position: int) -> None:
        self._rows = np.ascontiguousarray(seen.rows[rows])
        count = len(self._rows)
        places = seen.places[:, rows] + position * seen.moves[:, rows]
        self._positions = np.ascontiguousarray(places, dtype=np.int32)
        self._counts = np.ones(count, dtype=np.int32)
        self._slot = np.full(1, slot, dtype=np.int32)
        self._slots = (_INT32 * count)(*[self._slot.ctypes.data_as(_INT32)] * count)
        self._wants: NDArray[np.int8] = np.zeros(count, dtype=np.int8)
        self.struct = llama_cpp.llama_batch(
            n_tokens=count,
            token=None,
            embd=self._rows.ctypes.data_as(ctypes.POINTER(ctypes.c_float)),
            pos=self._positions.ctypes.data_as(_INT32),
            n_seq_id=self._counts.ctypes.data_as(_INT32),
            seq_id=self._slots,
            logits=self._wants.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )
