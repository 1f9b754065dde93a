"""Embeddings of vLLM, as base64 in any order: the bytes of each in the order of the texts."""

import math
from array import array
from base64 import b64decode

from server.errors import UpstreamFailed
from server.upstream.vllm_wire import Vectors


def vectors_of(found: Vectors, count: int, dimensions: int | None) -> tuple[bytes, ...]:
    """The first `dimensions` components of each, in the order of the inputs. Raises
    `UpstreamFailed` if they are not one for each."""
    ordered = sorted(found.data, key=lambda vector: vector.index)
    if [vector.index for vector in ordered] != list(range(count)):
        raise UpstreamFailed("vLLM did not answer with one vector for each text")
    try:
        vectors = [b64decode(vector.embedding, validate=True) for vector in ordered]
        return tuple(_cut(vector, dimensions) for vector in vectors)
    except ValueError:
        raise UpstreamFailed("vLLM answered with something that is no vector") from None


def _cut(vector: bytes, dimensions: int | None) -> bytes:
    """The leading components, made as long as 1 again."""
    values = array("f", vector)
    if dimensions is None or len(values) <= dimensions:
        return vector
    kept = values[:dimensions]
    length = math.sqrt(math.fsum(value * value for value in kept)) or 1.0
    return array("f", (value / length for value in kept)).tobytes()
