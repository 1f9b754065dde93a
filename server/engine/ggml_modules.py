"""llama.cpp with its back ends as modules: an image has one per kind of processor, and the best
that this one can run is chosen here.

Built like that, llama.cpp has no back end until told to look for some, and looks beside the
program and in the working folder; ours lie beside its libraries. A build for one machine has
them inside, and nothing is done.
"""

import ctypes
import os
from pathlib import Path

import llama_cpp

FOLDER = Path(llama_cpp.__file__).parent / "lib"
_PATTERN = "libggml-cpu-*.so"


def load_modules(folder: Path = FOLDER) -> None:
    """Let llama.cpp take its back ends from the folder. To be called before a model is loaded."""
    if any(folder.glob(_PATTERN)):
        ggml = ctypes.CDLL(str(folder / "libggml.so"))
        ggml.ggml_backend_load_all_from_path(ctypes.c_char_p(os.fsencode(folder)))
