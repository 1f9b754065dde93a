"""Small chat templates that are written as those of the families of models are.

Each shows what its family does and others do not: what it demands of messages, how it
writes a call, what it refuses. They lie in `tests/data/chat_templates`.
"""

from pathlib import Path

_FOLDER = Path(__file__).resolve().parents[1] / "data" / "chat_templates"

FAMILIES = {path.stem: path.read_text().strip() for path in sorted(_FOLDER.glob("*.jinja"))}
"""By the name of the family; those of the form `…_tools` are for conversations with tools."""
