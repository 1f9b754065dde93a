"""The call of a client library that asks what the panel asked. No key is ever in it.

Every text of a person or model is written as a Python literal, in which what cannot be
seen is escaped; pictures are read from their files again.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from toolkit.client import Endpoint
from toolkit.widgets.chat.conversation import Said
from toolkit.widgets.chat.pictures import Picture

KEY_VARIABLE = "LLM_API_KEY"
# OpenAI's names of Ollama's options; the others are the same, or it has none.
OPENAI_NAMES = {"num_predict": "max_tokens"}


class Client(StrEnum):
    """A client library, as a person chooses it."""

    TOOLKIT = "toolkit (in a notebook)"
    OLLAMA = "ollama"
    OPENAI = "openai"


def snippet(
    client: Client, endpoint: Endpoint, model: str, said: Sequence[Said], options: Mapping[str, Any]
) -> str:
    """Python that sends these messages with these options, and prints the reply as it comes."""
    write = {Client.TOOLKIT: _toolkit, Client.OLLAMA: _ollama, Client.OPENAI: _openai}[client]
    return "\n\n".join(filter(None, write(endpoint, model, said, options))) + "\n"


Parts = tuple[str, ...]


def _toolkit(
    endpoint: Endpoint, model: str, said: Sequence[Said], options: Mapping[str, Any]
) -> Parts:
    if endpoint.target:
        opening = f"endpoint = await toolkit.connect({endpoint.name!r})"
    else:
        key = f", key_file={str(endpoint.key_file)!r}" if endpoint.key_file else ""
        opening = f"endpoint = toolkit.Endpoint.open(url={endpoint.url!r}{key})"
    return (
        _imports("toolkit", said),
        opening,
        _messages(said, _ollama_message),
        f"options = {dict(options)!r}\n"
        f"async for piece in endpoint.chat(messages, model={model!r}, options=options):\n"
        '    print(piece.text, end="", flush=True)',
    )


def _ollama(
    endpoint: Endpoint, model: str, said: Sequence[Said], options: Mapping[str, Any]
) -> Parts:
    headers = ', headers={"Authorization": f"Bearer {key}"}' if endpoint.has_key else ""
    return (
        _warning(endpoint),
        _imports("ollama", said, endpoint),
        f"{_key(endpoint)}client = ollama.Client({endpoint.url!r}{headers})",
        _messages(said, _ollama_message),
        f"options = {dict(options)!r}\n"
        f"for part in client.chat({model!r}, messages, options=options, stream=True):\n"
        '    print(part.message.content, end="", flush=True)',
    )


def _openai(
    endpoint: Endpoint, model: str, said: Sequence[Said], options: Mapping[str, Any]
) -> Parts:
    key = "key" if endpoint.has_key else repr("none")
    given = {"model": model} | {OPENAI_NAMES.get(k, k): v for k, v in options.items()}
    arguments = ", ".join(f"{name}={value!r}" for name, value in given.items())
    return (
        _warning(endpoint),
        _imports("openai", said, endpoint),
        f"{_key(endpoint)}client = openai.OpenAI(base_url={endpoint.url + '/v1'!r}, api_key={key})",
        _messages(said, _openai_message),
        f"create = client.chat.completions.create\n"
        f"for part in create(messages=messages, stream=True, {arguments}):\n"
        "    for choice in part.choices:\n"
        '        print(choice.delta.content or "", end="", flush=True)',
    )


def _imports(library: str, said: Sequence[Said], keyed: Endpoint | None = None) -> str:
    """`keyed` is the endpoint where the code has to read its key."""
    names = {library}
    if any(one.pictures for one in said):
        names |= {"base64", "pathlib"}
    if keyed is not None and keyed.has_key:
        names.add("os" if keyed.key_file is None else "pathlib")
    return "\n".join(f"import {name}" for name in sorted(names, key=lambda n: (n == library, n)))


def _key(endpoint: Endpoint) -> str:
    """Where the key is read from; never the key."""
    if not endpoint.has_key:
        return ""
    if endpoint.key_file is None:
        return f"key = os.environ[{KEY_VARIABLE!r}]\n"
    return f"key = pathlib.Path({str(endpoint.key_file)!r}).read_text().strip()\n"


def _warning(endpoint: Endpoint) -> str:
    if not endpoint.is_pinned:
        return ""
    return (
        "# No authority vouches for this endpoint's certificate: this client refuses it, and\n"
        "# only the toolkit's client knows it, by its digest."
    )


def _messages(said: Sequence[Said], form: Callable[[Said], str]) -> str:
    return "\n".join(["messages = [", *(f"    {form(one)}," for one in said), "]"])


def _ollama_message(said: Said) -> str:
    images = f", 'images': [{', '.join(map(_read, said.pictures))}]" if said.pictures else ""
    return f"{{'role': {said.role!r}, 'content': {said.text!r}{images}}}"


def _openai_message(said: Said) -> str:
    if not said.pictures:
        return _ollama_message(said)
    parts = [f"{{'type': 'text', 'text': {said.text!r}}}"]
    for picture in said.pictures:
        url = f"'data:{picture.kind};base64,' + {_read(picture)}"
        parts.append(f"{{'type': 'image_url', 'image_url': {{'url': {url}}}}}")
    return f"{{'role': {said.role!r}, 'content': [{', '.join(parts)}]}}"


def _read(picture: Picture) -> str:
    return f"base64.b64encode(pathlib.Path({picture.name!r}).read_bytes()).decode()"
