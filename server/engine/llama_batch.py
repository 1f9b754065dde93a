"""Rows of a batch in the form of llama.cpp."""

import ctypes
from collections.abc import Sequence

import llama_cpp
import numpy as np

from server.engine.backend import Row


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
        int32 = ctypes.POINTER(ctypes.c_int32)
        self.struct = llama_cpp.llama_batch(
            n_tokens=0,
            token=self._tokens.ctypes.data_as(int32),
            embd=None,
            pos=self._positions.ctypes.data_as(int32),
            n_seq_id=self._counts.ctypes.data_as(int32),
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
