"""Models in a store whose weights are holes: as large as one likes, and quickly made."""

import hashlib
import json
from pathlib import Path

from tests.support.ollama_store import put_blob
from tests.support.shaped_models import Dims, Model, llama, write_shaped

# The shape of Llama 3 8B, in 16 bits.
EIGHT = llama(Dims(4096, 32, 32, 8, 128, 14336, vocab=8000), **{"general.file_type": 1})
# The shape of Llama 3 70B, in 8 bits.
SEVENTY = llama(
    Dims(8192, 80, 64, 8, 128, 28672, vocab=8000, kind="Q8_0"), **{"general.file_type": 7}
)


def put_hole(root: Path, name: str, model: Model) -> None:
    """Put the model into a store as `library/name:tag`; nothing has its real digest."""
    sha256 = hashlib.sha256(name.encode()).hexdigest()
    blob = root / "blobs" / f"sha256-{sha256}"
    config = put_blob(root, b'{"model_format": "gguf"}')
    write_shaped(blob, model)
    layer = {
        "mediaType": "application/vnd.ollama.image.model",
        "digest": f"sha256:{sha256}",
        "size": blob.stat().st_size,
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "digest": config,
            "size": 24,
        },
        "layers": [layer],
    }
    path = root / "manifests" / "registry.ollama.ai" / "library" / name.replace(":", "/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(manifest), encoding="utf-8")
