"""A store and those who fill it."""

from typing import NamedTuple

from server.models.create import Creator, Quantizer
from server.models.pull import Puller
from server.models.sources import Registries
from server.models.store import Store


class Library(NamedTuple):
    """One per process and event loop, because pulls share their downloads."""

    store: Store
    puller: Puller
    creator: Creator


def make_library(store: Store, registries: Registries, quantizer: Quantizer) -> Library:
    """A library over a store."""
    puller = Puller(store, registries)
    return Library(store, puller, Creator(store, puller=puller, quantizer=quantizer))
