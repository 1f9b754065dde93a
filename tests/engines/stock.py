"""The models that are asked, in a store of ours."""

from pathlib import Path

import ollama

from server.models.extras import Extras
from server.models.store import Store
from tests.engines.kinds import MODEL
from tests.support.ports import free_port
from tests.support.serving import Serving
from tests.support.tiny_llama import write_tiny_llama
from tests.support.tiny_vision import write_tiny_projector
from tests.support.tool_template import TOOL_TEMPLATE

# Its replies begin in the middle of a thought, if it is to think.
THINKING_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking %}<think>\n{% endif %}{% endif %}{# and ends with </think> #}"
)


def stock(embedded: Path, root: Path) -> Path:
    """A store at `root` with the embedded model out of another store, the same weights with
    templates for `tools` and thoughts (`thinks`), and two generated models: one that `fills`
    gaps and one that `sees`."""
    root.mkdir()
    weights, _ = Store(embedded).get(MODEL).check()
    store = Store(root)
    store.add_file(MODEL, weights)
    store.add_file("tools", weights, extras=Extras(jinja=TOOL_TEMPLATE))
    store.add_file("thinks", weights, extras=Extras(jinja=THINKING_TEMPLATE))
    tiny = write_tiny_llama(root / "tiny.gguf")
    store.add_file("fills", tiny)
    _add_seeing(root, tiny)
    return root


def _add_seeing(root: Path, weights: Path) -> None:
    """As users make one: over the API."""
    projector = write_tiny_projector(root / "projector.gguf")
    args = ["--models", str(root)]
    with Serving(root, free_port(), args=args) as server, ollama.Client(server.url) as client:
        files = {path.name: client.create_blob(path) for path in (weights, projector)}
        client.create("sees", files=files)
