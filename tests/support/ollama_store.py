"""A model store as Ollama leaves it on disk, written by hand."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Layers = Sequence[tuple[str, bytes]]


def put_blob(root: Path, data: bytes) -> str:
    """Write a blob; its digest."""
    sha256 = hashlib.sha256(data).hexdigest()
    (root / "blobs").mkdir(parents=True, exist_ok=True)
    (root / "blobs" / f"sha256-{sha256}").write_bytes(data)
    return f"sha256:{sha256}"


def put_model(
    root: Path,
    name: str,
    layers: Layers,
    config: dict[str, Any] | None = None,
) -> Path:
    """Write a model with these layers under `host/namespace/model/tag`; its manifest."""
    config_data = json.dumps(config or {"model_format": "gguf"}).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "digest": put_blob(root, config_data),
            "size": len(config_data),
        },
        "layers": [
            {
                "mediaType": f"application/vnd.ollama.image.{kind}",
                "digest": put_blob(root, data),
                "size": len(data),
                "from": "/somewhere/else",
            }
            for kind, data in layers
        ],
    }
    path = root / "manifests" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(manifest), encoding="utf-8")
    return path


def blob_names(root: Path) -> set[str]:
    """What lies in the folder of blobs."""
    folder = root / "blobs"
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()
