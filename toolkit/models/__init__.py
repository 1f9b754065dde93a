"""Models: what there is, here and at endpoints; getting, showing and deleting them.

The functions are about the store of this machine. `LocalModels` and `EndpointModels` are
the same for whoever works with either.
"""

from toolkit.models.local import LocalModels, delete, listed, pull, show
from toolkit.models.remote import EndpointModels
from toolkit.models.shelf import Details, Pace, Row, Shelf, Table

__all__ = [
    "Details",
    "EndpointModels",
    "LocalModels",
    "Pace",
    "Row",
    "Shelf",
    "Table",
    "delete",
    "listed",
    "pull",
    "show",
]
