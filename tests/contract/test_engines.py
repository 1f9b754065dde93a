"""Every engine that is here does what the table of the engines says, and no less."""

from pathlib import Path

import pytest

from tests.engines import table
from tests.engines.kinds import RunningEngine
from tests.engines.probes import PROBES
from tests.engines.stock import stock
from tests.engines.subject import Probe, Subject


@pytest.fixture(scope="package")
def stocked(embedded_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stock(embedded_store, tmp_path_factory.mktemp("stocked") / "models")


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_an_engine_does_what_the_table_says(
    engine: RunningEngine, stocked: Path, probe: Probe
) -> None:
    stored = table.load()[engine.name].outcomes
    with Subject(engine.over(stocked).url, engine.roles) as subject:
        assert probe.outcome(subject) == stored[probe.name], "make engines writes what is now"
