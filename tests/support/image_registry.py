"""Debian's docker-registry on loopback, and models that are pushed into it."""

import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2

from server.models.manifest import (
    CONFIG_TYPE,
    MANIFEST_TYPE,
    Layer,
    Manifest,
    digest_of,
    media_type,
)
from tests.support.started import Started

PROGRAM = "docker-registry"
_CONFIG = """\
version: 0.1
log:
  level: error
storage:
  filesystem:
    rootdirectory: {folder}
http:
  addr: 127.0.0.1:{port}
"""


class ImageRegistry(Started):
    """A registry of container images in a process of its own. Use as a context manager."""

    def __init__(self, folder: Path, port: int) -> None:
        self.host = f"127.0.0.1:{port}"
        self.url = f"http://{self.host}"
        self._log = folder / "registry.log"
        self._config = folder / "registry.yml"
        self._config.write_text(_CONFIG.format(folder=folder / "registry", port=port))
        self._client = httpx2.Client(base_url=self.url, timeout=30, trust_env=False)

    def start(self) -> None:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [PROGRAM, "serve", str(self._config)], stdout=log, stderr=log
            )

    def end(self) -> None:
        self._client.close()
        self._process.terminate()
        self._process.wait(20)

    def push(
        self, name: str, layers: Sequence[tuple[str, bytes]], config: dict[str, Any] | None = None
    ) -> bytes:
        """Push a model `namespace/model:tag` with layers (kind, bytes); its manifest."""
        repository, _, tag = name.partition(":")
        config_data = json.dumps(config or {"model_format": "gguf"}).encode()
        for data in (config_data, *(data for _, data in layers)):
            self._push_blob(repository, data)
        manifest = Manifest(
            config=Layer.of(CONFIG_TYPE, config_data),
            layers=[Layer.of(media_type(kind), data) for kind, data in layers],
        ).to_json()
        answer = self._client.put(
            f"/v2/{repository}/manifests/{tag}",
            content=manifest,
            headers={"content-type": MANIFEST_TYPE},
        )
        assert answer.status_code == 201, answer.text
        return manifest

    def _push_blob(self, repository: str, data: bytes) -> None:
        begun = self._client.post(f"/v2/{repository}/blobs/uploads/")
        assert begun.status_code == 202, begun.text
        place = httpx2.URL(begun.headers["location"]).copy_merge_params({"digest": digest_of(data)})
        headers = {"content-type": "application/octet-stream"}
        done = self._client.put(place, content=data, headers=headers)
        assert done.status_code == 201, done.text

    def wait_until_ready(self, within_s: float = 60) -> None:
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            assert self._process.poll() is None, self._log.read_text()
            try:
                if self._client.get("/v2/").status_code == 200:
                    return
            except httpx2.TransportError:
                time.sleep(0.05)
        raise AssertionError(f"the registry is not ready: {self._log.read_text()}")
