"""What a person names as a model of vLLM: a folder of this machine, or a name of Hugging Face."""

import os
import re
from pathlib import Path
from typing import Final

from toolkit.errors import ConfigError, UsageError
from toolkit.sizing.subject import Subject
from toolkit.sizing.transformers import CONFIG, find_transformers, is_folder

_PART: Final = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
_ON_HUB: Final = re.compile(rf"{_PART}(?:/{_PART})?")
_STARTS: Final = ("hf://", "https://huggingface.co/", "hf.co/", "huggingface.co/")
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9._-]+")


def model_name(text: str) -> str:
    """The absolute path of a folder that holds a model, or a name as Hugging Face writes it.

    Looks at the disk. `UsageError` for what is neither.
    """
    if text and is_folder(text):
        return str(Path(text).expanduser().absolute())
    name = text
    for start in _STARTS:
        name = name.removeprefix(start)
    if is_hub_name(name):
        return name
    raise UsageError(
        f"{text!r} is no model for vLLM: neither a name on Hugging Face, nor a folder with a"
        f" {CONFIG}",
        hint="Such as HuggingFaceTB/SmolLM2-135M-Instruct. `akash-llm size NAME --engine vllm`"
        " says what one needs.",
    )


def is_hub_name(text: str) -> bool:
    """Whether this can name a model on Hugging Face. Pure."""
    return bool(_ON_HUB.fullmatch(text)) and ".." not in text and "--" not in text


def served_name(model: str) -> str:
    """What clients call it: a folder's own name stands for its path. Pure."""
    if not model.startswith("/"):
        return model
    return _NOT_IN_NAMES.sub("-", Path(model).name).strip("-._") or "model"


def check_place(model: str) -> None:
    """Refuse a folder that has gone, and a name that vLLM would take for a folder beside us.

    `ConfigError` with the next step.
    """
    if model.startswith("/"):
        if not is_folder(model):
            raise ConfigError(
                f"{model} is no folder with a {CONFIG}", hint="Has it been moved? Plan again."
            )
    elif Path(model).exists():
        raise ConfigError(
            f"there is a file or folder {model!r} here, and vLLM would take it for the model",
            hint="Write its whole path if it is meant; else start this from another folder.",
        )


async def subject_of(model: str) -> Subject | None:
    """Its shape and size, from the files of this machine alone; None if they are not here."""
    folder = Path(model) if model.startswith("/") else _in_cache(model)
    if folder is None:
        return None
    try:
        return await find_transformers(str(folder))
    except (UsageError, ConfigError, OSError):
        return None  # weights of another form, or half fetched: vLLM will say


def _in_cache(name: str) -> Path | None:
    """The newest copy in Hugging Face's own cache, which vLLM uses."""
    snapshots = _hub_cache() / f"models--{name.replace('/', '--')}" / "snapshots"
    found = sorted(snapshots.glob(f"*/{CONFIG}"), key=lambda path: path.parent.stat().st_mtime)
    return found[-1].parent if found else None


def _hub_cache() -> Path:
    if given := os.environ.get("HF_HUB_CACHE"):
        return Path(given).expanduser()
    home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    return Path(home).expanduser() / "hub"
