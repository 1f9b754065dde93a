"""Thousands of requests made from the OpenAPI document, each answer held against it."""

from pathlib import Path

from tests.server.api.conftest import stock
from tests.support.conformance import Report, check_server, make_sense
from tests.support.ports import free_port
from tests.support.serving import Serving


def conforming(folder: Path, *, cases: int, seed: int) -> Report:
    """What came of so many requests to a server over the fake engine."""
    store = stock(folder / "store", folder)
    args = ["--models", str(store.root), "--context", "256", "--registries", "nobody.test"]
    with Serving(folder, free_port(), args=args) as server, server.client() as client:
        document = client.get("/openapi.json").json()
        return check_server(server.url, document, cases=cases, seed=seed, prepare=make_sense)
