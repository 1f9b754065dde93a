"""The folder of manifests: which models there are, and which blobs they name."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from server.models.manifest import read_manifest
from server.models.name import InvalidModelName, ModelName


class Manifests:
    """The manifests below one folder, each at the path that its model's name spells."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def paths(self) -> Iterator[Path]:
        """Those whose path is a name."""
        for path in sorted(self.folder.glob("*/*/*/*")):
            if _name_of(path) is not None and path.is_file():
                yield path

    def find(self, name: ModelName) -> Path | None:
        """The manifest of a name: as it is spelled, else in whatever case it is there."""
        exact = self.folder.joinpath(*name.parts())
        with suppress(OSError):  # a host that is longer than a name of a folder can be
            if exact.is_file():
                return exact
        same = (path for path in self.paths() if _same(path, name))
        return next(same, None)

    def place(self, name: ModelName) -> Path:
        """Where the manifest of a name is, or will be; its folder is there."""
        path = self.find(name) or self.folder.joinpath(*name.parts())
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def used(self) -> set[str]:
        """The digests that manifests name. Raises `OSError` or `ValueError` while one of
        them cannot be read: it may name any."""
        return set().union(*(_digests(path.read_bytes()) for path in self.paths()))

    def digests(self, path: Path) -> set[str]:
        """The blobs of a manifest; none if it is damaged."""
        try:
            return _digests(path.read_bytes())
        except ValueError:
            return set()

    def remove(self, path: Path) -> None:
        """Remove a manifest, and the folders that are empty then."""
        path.unlink()
        for folder in list(path.parents):
            if folder == self.folder:
                return
            try:
                folder.rmdir()
            except OSError:  # not empty
                return


def _name_of(path: Path) -> ModelName | None:
    """The name that a manifest's path spells; None for other files that lie around."""
    host, namespace, model, tag = path.parts[-4:]
    try:
        return ModelName.parse(f"{host}/{namespace}/{model}:{tag}")
    except InvalidModelName:
        return None


def _same(path: Path, name: ModelName) -> bool:
    found = _name_of(path)
    return found is not None and found.same_as(name)


def _digests(data: bytes) -> set[str]:
    return {layer.digest for layer in read_manifest(data).blobs()}
