"""What a model is to be made of, and whether that makes sense.

The text of a template is Jinja, and it runs on this machine for everybody who uses the
model, so that needs an administrator's say-so.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import jinja2
import msgspec

from server.errors import Forbidden, InvalidRequest, Unsupported
from server.models.jinja_syntax import EXTENSIONS
from server.models.manifest import Message
from server.models.modelfile_reader import ROLES

MAX_TEXT_BYTES = 1 << 20
# What begins in two braces in Go's templates and can begin so in none of Jinja's.
_GO = re.compile(
    r"\{\{-?\s*(?:\.|\$|/\*|(?:else|end|break|continue)\s*-?\}\}"
    r"|(?:if|else|range|with|define|template|block)\s+\S"
    r"|(?:json|len|index|slice|printf|and|or|not|eq|ne|lt|gt|le|ge)\s+[.$])"
)


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """What to make: `base` is another model, `files` and `adapters` are digests by file name.

    What is empty is taken from the base, if there is one. `template` is Jinja and needs
    `may_set_template`.
    """

    name: str
    base: str = ""
    files: Mapping[str, str] = {}
    adapters: Mapping[str, str] = {}
    parameters: Mapping[str, object] = {}
    template: str = ""
    system: str = ""
    messages: Sequence[Message] = ()
    licenses: Sequence[str] = ()
    quantize: str = ""
    may_set_template: bool = False


def check(recipe: Recipe, kinds: Sequence[str]) -> None:
    """Whether a recipe makes sense, as far as can be said without looking at a file.

    `kinds` are the types that weights can be rewritten in. Raises `InvalidRequest`,
    `Unsupported` or `Forbidden`.
    """
    if not recipe.base and not recipe.files:
        raise InvalidRequest("neither 'from' or 'files' was specified")
    if recipe.base and recipe.files:
        raise InvalidRequest("'from' and 'files' cannot be used together")
    for name in (*recipe.files, *recipe.adapters):
        _check_file_name(name)
    for message in recipe.messages:
        if message.role not in ROLES:
            raise InvalidRequest('message role must be one of "system", "user", or "assistant"')
    for text in (recipe.system, recipe.template, *recipe.licenses):
        if len(text) > MAX_TEXT_BYTES:
            raise InvalidRequest(f"a text of a model has at most {MAX_TEXT_BYTES} characters")
    if recipe.quantize and recipe.quantize.lower() not in kinds:
        known = ", ".join(kind.upper() for kind in kinds) or "none here"
        raise InvalidRequest(
            f"unsupported quantization type {recipe.quantize} - supported types are {known}"
        )
    if recipe.template:
        _check_template(recipe.template, recipe.may_set_template)


def _check_file_name(name: str) -> None:
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise InvalidRequest("file path must be relative")
    if name.lower().endswith(".safetensors"):
        raise Unsupported(
            "models of safetensors files cannot be created",
            hint="convert them with llama.cpp's convert_hf_to_gguf.py",
        )


def _check_template(text: str, may_set: bool) -> None:
    """A template must be Jinja that can be compiled, and somebody must answer for it."""
    if not may_set:
        raise Forbidden("only an administrator may give a model a template")
    if _GO.search(text):
        raise Unsupported(
            "templates in Go's language are not supported",
            hint="leave it out, then the template of the weights is used, or write it in Jinja",
        )
    try:
        jinja2.Environment(extensions=EXTENSIONS).parse(text)  # noqa: S701
    except (jinja2.TemplateSyntaxError, RecursionError) as error:
        raise InvalidRequest(f"the template is no Jinja: {error}") from error
