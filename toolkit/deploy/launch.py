"""How the processes of an endpoint are started here: arguments and environment of each."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from toolkit import paths
from toolkit.deploy import members
from toolkit.deploy.base import Intent
from toolkit.deploy.engines import ENGINES
from toolkit.deploy.engines.base import Launch, Place
from toolkit.deploy.pairs import UPSTREAM_VARIABLE
from toolkit.deploy.ports import HOST
from toolkit.deploy.services import Jobs

UPSTREAM_KEY_VARIABLE: Final = f"{UPSTREAM_VARIABLE}_KEY"
# Ours, that would lead the interpreter of another environment astray.
_OF_OUR_PYTHON: Final = ("PYTHONPATH", "PYTHONHOME")


class Ports(NamedTuple):
    """Where each listens; `engine` is 0 where there is none, or where it has a `socket`."""

    server: int
    engine: int = 0
    socket: Path | None = None

    def of(self, service: str) -> int:
        return self.engine if service == members.ENGINE else self.server


async def launches(
    intent: Intent, jobs: Jobs, ports: Ports, program: Path | None
) -> dict[str, Launch]:
    """By service, the engine first. `program` is the engine's.

    An engine that knows keys gets one that is drawn here and that nobody keeps: it and our
    server have it in their environments, which no other user can read.
    """
    upstream: dict[str, str] = {}
    made: dict[str, Launch] = {}
    if jobs.engine is not None and program is not None:
        engine = ENGINES[jobs.engine.engine]
        place = Place(HOST, ports.engine, secrets.token_urlsafe(32), ports.socket)
        launch = await engine.launch(jobs.engine, program, place, intent)
        kept = {k: v for k, v in _inherited().items() if k not in _OF_OUR_PYTHON}
        made[members.ENGINE] = Launch(launch.argv, {**kept, **launch.environment, **_common()})
        upstream[UPSTREAM_VARIABLE] = place.url
        if engine.has_keys:
            upstream[UPSTREAM_KEY_VARIABLE] = place.key
    fixed = {
        "AKASH_LLM_HOST": HOST,
        "AKASH_LLM_PORT": str(ports.server),
        "AKASH_LLM_STATE": str(paths.state(intent.name)),
    }
    job = jobs.server
    environment = {**_inherited(), **job.environment, **fixed, **upstream, **_common()}
    made[members.SERVER] = Launch(job.argv, environment)
    return made


def _inherited() -> dict[str, str]:
    """Ours without its secrets and settings."""
    return {k: v for k, v in os.environ.items() if not k.startswith("AKASH_")}


def _common() -> Mapping[str, str]:
    return {"PYTHONUNBUFFERED": "1", paths.HOME_VARIABLE: str(paths.home())}
