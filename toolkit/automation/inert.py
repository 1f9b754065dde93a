"""HTML that was made by other people, as HTML that can only be read.

What a notebook holds may ask a browser to go elsewhere (`meta`, `base`, `form`) without a script
or a request that a policy of the page would stop. So only what is known to be harmless stays.
"""

import re
from collections.abc import Iterator
from html import escape
from typing import Any

from bleach.css_sanitizer import ALLOWED_CSS_PROPERTIES, ALLOWED_SVG_PROPERTIES, CSSSanitizer
from bleach.html5lib_shim import HTMLSerializer, namespaces
from bleach.sanitizer import INVISIBLE_CHARACTERS_RE, BleachSanitizerFilter

from toolkit.automation.markup import TooMuch, tokens

_BLOCKS = "address article aside blockquote dd div dl dt figcaption figure footer h1 h2 h3 h4 h5 h6"
_BLOCKS += " header hr li main nav ol p pre section ul details summary"
_WORDS = (
    "a abbr b bdi bdo br cite code del dfn em i img ins kbd mark q rp rt ruby s samp small span"
)
_WORDS += " strong sub sup time tt u var wbr"
_TABLES = "caption col colgroup table tbody td tfoot th thead tr"
# Their content is no text for readers; it goes with them. Other elements leave theirs.
_UNREAD = frozenset({"script", "style", "template", "noscript", "title", "textarea", "iframe"})
_EVERYWHERE = frozenset({"class", "dir", "hidden", "id", "lang", "role", "style", "title"})
_OF_ONE = {
    "a": {"href"},
    "details": {"open"},
    "img": {"alt", "height", "src", "width"},
    "ol": {"start"},
    "td": {"colspan", "headers", "rowspan"},
    "th": {"colspan", "headers", "rowspan", "scope"},
    "time": {"datetime"},
}
_DRAWINGS = "circle clipPath defs desc ellipse g line linearGradient path polygon polyline"
_DRAWINGS += " radialGradient rect stop svg text title tspan use"
_PAINTED = "clip-rule dominant-baseline fill-opacity fill-rule font-family font-size font-style"
_PAINTED += " font-weight stop-color stop-opacity stroke-dasharray stroke-dashoffset stroke-linecap"
_PAINTED += " stroke-linejoin stroke-miterlimit stroke-opacity text-anchor"
_ATTRIBUTES = "clip-path clipPathUnits cx cy d dx dy fill fx fy gradientTransform gradientUnits"
_ATTRIBUTES += " height offset opacity points preserveAspectRatio r rx ry spreadMethod stroke"
_ATTRIBUTES += " stroke-width transform viewBox width x x1 x2 y y1 y2"
_OF_DRAWINGS = frozenset({*_PAINTED.split(), *_ATTRIBUTES.split()})
_REFERRING = frozenset({"use", "linearGradient", "radialGradient"})
_DRAWN = frozenset(_DRAWINGS.split())
_TAGS = frozenset({*_BLOCKS.split(), *_WORDS.split(), *_TABLES.split(), *_DRAWN})
_READ = _TAGS | _UNREAD | {"input"}
_STYLES = CSSSanitizer(
    allowed_css_properties=ALLOWED_CSS_PROPERTIES - {"cursor"},  # which can be a picture
    allowed_svg_properties=ALLOWED_SVG_PROPERTIES | frozenset(_PAINTED.split()),
)
# What a style or a drawing refers to is in the same page. A backslash could hide a name.
_ELSEWHERE = re.compile(r"\\|(url|src|image|image-set)\((?!\s*[\"']?#)", re.I)
# Browsers skip some of these in front of a scheme, and in it.
_SKIPPED = re.compile(r"[\x00-\x20\x7f-\xa0]")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.I)
_SCHEMES = frozenset({"http:", "https:", "mailto:"})
_INSTEAD = "<p>Too long, or nested too deeply, to be shown other than as its text:</p>"


def inert(html: str, *, limited: bool = True) -> str:
    """The same without what acts or loads: no scripts, styles, forms, frames and redirections;
    pictures only where they are part of it; drawings that do not move; links only to the web, by
    mail or within. All that begins in it also ends in it.

    What would take long to read is shown as text, unless it is known to be well made and so not
    `limited` in length.
    """
    try:
        read = tokens(html, tags=_READ, limited=limited)
    except TooMuch:
        return f"{_INSTEAD}<pre>{escape(html)}</pre>"
    serializer = HTMLSerializer(
        quote_attr_values="always",
        omit_optional_tags=False,
        escape_lt_in_attrs=True,
        escape_rcdata=True,
        resolve_entities=False,
    )
    return str(serializer.render(_Inert(_with_boxes(_without_unread(read)))))


def _is_allowed(tag: str, name: str, value: str) -> bool:
    if name == "src":
        return tag == "img" and value.lower().startswith("data:image/")
    if name == "href":
        return (tag == "a" and _is_link(value)) or (tag in _REFERRING and value.startswith("#"))
    if name == "style" or (tag in _DRAWN and name in _OF_DRAWINGS):
        return not _ELSEWHERE.search(value)
    return name in _EVERYWHERE or name.startswith("aria-") or name in _OF_ONE.get(tag, ())


def _is_link(address: str) -> bool:
    """Whether it is relative, or of the web or mail."""
    scheme = _SCHEME.match(_SKIPPED.sub("", address))
    return scheme is None or scheme[0].lower() in _SCHEMES


def _without_unread(read: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Leaves out elements with all that is in them. The title of a drawing is its name."""
    depth = 0
    for token in read:
        name, is_drawn = token.get("name"), token.get("namespace") == namespaces["svg"]
        is_unread = name in _UNREAD and not (name == "title" and is_drawn)
        if is_unread:
            depth += 1 if token["type"] == "StartTag" else -1
        elif depth == 0:
            yield token


def _with_boxes(read: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The boxes of lists of tasks as signs. Other fields are left out."""
    for token in read:
        if token.get("name") != "input":
            yield token
        elif token["type"] == "EmptyTag" and token["data"].get((None, "type")) == "checkbox":
            is_checked = (None, "checked") in token["data"]
            yield {"type": "Characters", "data": "\u2611 " if is_checked else "\u2610 "}


class _Inert(BleachSanitizerFilter):  # type: ignore[misc]  # bleach has no types
    """Of tokens without entities, where bleach has them in text and in values."""

    def __init__(self, source: Iterator[dict[str, Any]]) -> None:
        super().__init__(
            source,
            allowed_tags=_TAGS,
            attributes=_is_allowed,
            attr_val_is_uri=frozenset(),  # `_is_link` has seen them
            strip_disallowed_tags=True,
            css_sanitizer=_STYLES,
        )

    def sanitize_characters(self, token: dict[str, Any]) -> dict[str, Any]:
        return {**token, "data": INVISIBLE_CHARACTERS_RE.sub("?", token["data"])}
