"""GGUF files of Hugging Face by their path: `hf://user/repo/path/file.gguf[@revision]`.

For what the registry of Hugging Face does not offer, such as weights that are split over
several files. huggingface_hub, which need not be installed, knows where a file is, what
its SHA-256 is and who may read it; the bytes come the same way as those of a registry.
"""

import asyncio
import importlib
import re
from collections.abc import Sequence
from typing import Any

import httpx2
import msgspec

from server.errors import InvalidRequest, NotFound, PullFailed, Unsupported
from server.models.download import Remote
from server.models.name import ModelName
from server.models.patience import Patience
from server.models.splits import part_names, stem_of
from server.models.web import Web

SCHEME = "hf://"
_TIMEOUT_S = 60.0
_PATH = re.compile(
    r"(?P<repo>[\w.-]+/[\w.-]+)/(?P<file>[\w./+-]+\.gguf)(?:@(?P<revision>[\w./-]+))?", re.ASCII
)


class HubFile(msgspec.Struct, frozen=True):
    """A file of a repository, at a revision; if it is a part of weights, then all parts."""

    repo: str
    file: str
    revision: str = "main"

    @classmethod
    def parse(cls, text: str) -> "HubFile":
        """Read `hf://user/repo/path/file.gguf[@revision]`. Raises `InvalidRequest`."""
        found = _PATH.fullmatch(text.removeprefix(SCHEME))
        if found is None or ".." in text:
            raise InvalidRequest(
                f"{text[:200]!r} names no file of Hugging Face",
                hint="it looks like hf://user/repo/file.gguf or hf://user/repo/file.gguf@revision",
            )
        return cls(found["repo"], found["file"], found["revision"] or "main")

    @property
    def name(self) -> ModelName:
        """What the model is called here: `hf.co/user/repo:<file>`.

        Raises `InvalidModelName` if that cannot be a name.
        """
        file = self.file.rpartition("/")[2]
        tag = stem_of(file) or file.removesuffix(".gguf")
        return ModelName.parse(f"hf.co/{self.repo}:{tag}")

    @property
    def paths(self) -> list[str]:
        """The paths in the repository: this one, or those of all parts."""
        folder, slash, file = self.file.rpartition("/")
        return [f"{folder}{slash}{name}" for name in part_names(file)]


class Hub:
    """Where the files of a model on Hugging Face are.

    Raises `Unsupported` if huggingface_hub is not installed.
    """

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        try:
            self._library: Any = importlib.import_module("huggingface_hub")
        except ImportError as error:
            raise Unsupported(
                "files of Hugging Face need the package huggingface_hub",
                hint="pip install 'akash-llm[hub]'",
            ) from error

    def web(self) -> Web:
        """A connection to Hugging Face with the token of this machine, if it has one."""
        token = self._library.get_token()
        headers = {"authorization": f"Bearer {token}"} if token else {}
        endpoint = httpx2.URL(self._library.constants.ENDPOINT)
        return Web(str(endpoint.copy_with(path="/")), patience=self._patience, headers=headers)

    def url(self, repo: str, path: str, revision: str = "main") -> str:
        """Where a file of a repository is, whether there is one or not."""
        return str(self._library.hf_hub_url(repo, path, revision=revision))

    async def remotes(self, file: HubFile) -> list[Remote]:
        """Where the files are, in order. Raises `NotFound`, `PullFailed`, `InvalidRequest`."""
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                found = await asyncio.to_thread(self._look_up, file)
        except self._library.errors.HfHubHTTPError as error:
            status = getattr(error.response, "status_code", 0)
            if status == 404:
                raise NotFound(f"Hugging Face has no {file.repo}") from error
            raise PullFailed(
                f"Hugging Face does not give {file.repo}: it answered {status}",
                hint="`hf auth login` gives this machine access to what you may read",
            ) from error
        except (httpx2.HTTPError, TimeoutError) as error:
            reason = str(error) or "it does not answer"
            raise PullFailed(
                f"Hugging Face cannot be reached: {reason}",
                hint="check the network and pull again",
            ) from error
        except ValueError as error:
            raise InvalidRequest(f"{file.repo}: {error}") from error
        return [self._remote(file, path, found) for path in file.paths]

    def _look_up(self, file: HubFile) -> Sequence[Any]:
        infos: Sequence[Any] = self._library.HfApi().get_paths_info(
            file.repo, file.paths, revision=file.revision
        )
        return infos

    def _remote(self, file: HubFile, path: str, found: Sequence[Any]) -> Remote:
        lfs = next((info.lfs for info in found if info.path == path), None)
        if lfs is None:
            raise NotFound(f"{file.repo} has no file {path}")
        url = self._library.hf_hub_url(file.repo, path, revision=file.revision)
        return Remote(url, f"sha256:{lfs.sha256}", int(lfs.size))
