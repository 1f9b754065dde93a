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
        table = np.array(rows, dtype=np.int32)
        self._slots[:count] = table[:, 0]
        self._positions[:count] = table[:, 1]
        self._tokens[:count] = table[:, 2]
        self._wants[:count] = table[:, 3]
        self.struct.n_tokens = count
