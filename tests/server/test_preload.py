"""Readiness after the start: what becomes of a preloaded model is told as long as it lasts."""

import os
import signal
from pathlib import Path

from server.admission import Gate
from server.api.core import Core
from server.chat.renderer import Renderer
from server.durations import FOREVER
from server.engine.config import EngineConfig
from server.engine.quantizer import Quantizer
from server.engine.restarts import RestartPolicy
from server.engine.supervisor import Supervisor
from server.local import LocalEngine
from server.models.library import StoreLibrary
from server.models.sources import Registries
from server.models.store import Store
from server.preload import Preloader, Readiness
from server.usage import Usage
from tests.support.serving import write_gguf
from tests.support.supervising import until


async def test_a_model_that_keeps_crashing_is_red_with_the_reason(tmp_path: Path) -> None:
    store = Store(tmp_path / "models")
    store.add_file("m", write_gguf(tmp_path / "m.gguf"))
    supervisor = Supervisor(
        EngineConfig(backend="fake"), restarts=RestartPolicy(longest_s=600, most=1)
    )
    library = StoreLibrary(store, Registries.parse(), Quantizer())
    preloader = Preloader(
        Core(LocalEngine(store, supervisor, library), Renderer(), Gate(Usage())),
        ["m"],
        stock=None,
        puller=None,
        keep_alive_s=FOREVER,
    )
    try:
        assert await preloader.prepare() == Readiness("ready", {"m": "ready"})
        [entry] = supervisor.loaded()
        assert entry.pid is not None
        os.kill(entry.pid, signal.SIGSEGV)
        await until(lambda: preloader.readiness().status == "failed")
        assert preloader.readiness().reason == (
            "m: the model crashed 1 times in a row: the model runner was ended by SIGSEGV; "
            "it is started again after 600 s"
        )
    finally:
        await supervisor.close()
