"""One model of one registry: Ollama's protocol, which is the one of container images."""

from server.errors import NotFound, PullFailed
from server.models.download import Remote
from server.models.manifest import MANIFEST_TYPE, Layer
from server.models.name import ModelName
from server.models.patience import Patience, persist
from server.models.sources import Registries
from server.models.web import Web

MAX_MANIFEST_BYTES = 4 << 20
_MANIFEST_TRIES = 3


class Registry:
    """Where a model is pulled from.

    Raises `Forbidden` or `InvalidRequest` if the registry of the name may not be used.
    """

    def __init__(
        self,
        name: ModelName,
        registries: Registries,
        patience: Patience,
        *,
        insecure: bool = False,
    ) -> None:
        self._name = name
        self._registries = registries
        self._patience = patience
        self._origin = registries.url(name.host, insecure=insecure)
        self._base = f"{self._origin}/v2/{name.namespace}/{name.model}"

    def web(self) -> Web:
        """A connection to it; open it as a context manager."""
        return Web(self._origin, patience=self._patience, is_trusted=self._registries.allows)

    async def manifest(self) -> bytes:
        """The manifest, as it is. Raises `NotFound` in Ollama's words, or `PullFailed`."""
        tries = min(self._patience.tries, _MANIFEST_TRIES)
        url = f"{self._base}/manifests/{self._name.tag}"
        async with self.web() as web:
            try:
                return await persist(
                    lambda: web.read(url, MAX_MANIFEST_BYTES, accept=MANIFEST_TYPE),
                    self._patience.limited_to(tries),
                )
            except NotFound as error:
                raise NotFound(
                    f"pull model manifest: {error.message}", hint="check the name and the tag"
                ) from error
            except PullFailed as error:
                raise PullFailed(
                    f"pull model manifest: {error.message}", hint=error.hint
                ) from error

    def remote(self, layer: Layer) -> Remote:
        """Where a blob of the model is."""
        return Remote(f"{self._base}/blobs/{layer.digest}", layer.digest, layer.size)
