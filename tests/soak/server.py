"""The server that is soaked: the embedded model, two keys, little memory, all features on."""

from pathlib import Path

from server.keys import digest
from tests.soak.mixture import MODEL
from tests.support.serving import Serving

KEYS = ("first-key-of-the-soak", "second-key-of-the-soak")


def soaked(folder: Path, models: Path, port: int) -> Serving:
    """Four requests at once that share less memory than they could use."""
    args = {
        "--models": str(models),
        "--preload": MODEL,
        "--parallel": "4",
        "--context": "512",
        "--pool": "1200",
        "--parking": "64MiB",
        "--speculate": "auto",
    }
    grants = f"first:admin:{digest(KEYS[0])},second:inference:{digest(KEYS[1])}"
    return Serving(
        folder,
        port,
        args=[part for pair in args.items() for part in pair],
        env={"AKASH_LLM_KEYS": grants},
        fake=False,
    )
