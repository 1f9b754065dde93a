"""Deploying with a stand-in for the server: one more row in the table of images."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.deploying import STAND_IN, MakeKeeper
from toolkit import paths
from toolkit.deploy import processes
from toolkit.deploy.base import Intent
from toolkit.deploy.keeper import Keeper
from toolkit.deploy.ledger import Ledger
from toolkit.deploy.local import PROGRAMS, LocalTarget
from toolkit.deploy.services import Program


def stand_in_target(manners: str) -> LocalTarget:
    program = Program((sys.executable, str(STAND_IN), manners))
    names = ["stand-in", *(PROGRAMS if manners == "gateway" else ())]
    programs = {**PROGRAMS, **dict.fromkeys(names, program)}
    return LocalTarget(programs, image="example.org/test/stand-in:1", stop_grace_s=1, probe_s=2)


@pytest.fixture
async def keeper(stocked_home: Path) -> AsyncIterator[MakeKeeper]:
    """Makes keepers whose local target runs the stand-in; ends what is left."""

    def make(manners: str = "good") -> Keeper:
        target = stand_in_target(manners)
        return Keeper(targets={"local": target}, ledger=Ledger(paths.ledger()))

    yield make
    home = str(paths.home())
    for uid, members in processes.marked().items():
        if any(processes.environment_of(p).get("AKASH_LLM_HOME") == home for p in members):
            await processes.end(uid, grace_s=1)


@pytest.fixture
def intent() -> Intent:
    return Intent(name="mine", context=512, parallel=2)
