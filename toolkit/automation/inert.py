"""HTML that was made by other people, as HTML that can only be read.

What a notebook holds may ask a browser to go elsewhere (`meta`, `base`, `form`) without a script
or a request that a policy of the page would stop. So only what is known to be harmless stays.
"""

import re
from collections.abc import Iterator
from typing import Any

from bleach.css_sanitizer import ALLOWED_SVG_PROPERTIES, CSSSanitizer
from bleach.html5lib_shim import Filter
from bleach.sanitizer import Cleaner

_BLOCKS = "address article aside blockquote dd div dl dt figcaption figure footer h1 h2 h3 h4 h5 h6"
_BLOCKS += " header hr li main nav ol p pre section ul details summary"
_WORDS = (
    "a abbr b bdi bdo br cite code del dfn em i img ins kbd mark q rp rt ruby s samp small span"
)
_WORDS += " strong sub sup time tt u var wbr"
_TABLES = "caption col colgroup table tbody td tfoot th thead tr"
# Their content is no text for readers; it goes with them. Other elements leave theirs.
_UNREAD = frozenset({"script", "style", "template", "noscript", "title", "textarea", "iframe"})
_EVERYWHERE = frozenset({"class", "dir", "id", "lang", "role", "style", "title"})
_OF_ONE = {
    "a": {"href"},
    "details": {"open"},
    "img": {"alt", "height", "src", "width"},
    "ol": {"start"},
    "td": {"colspan", "headers", "rowspan"},
    "th": {"colspan", "headers", "rowspan", "scope"},
    "time": {"datetime"},
}
# Drawings. Names of SVG have capitals once they are in a tree, and none while they are read.
_DRAWINGS = "circle clipPath clippath defs ellipse g line path polygon polyline rect svg text tspan"
_DRAWINGS += " use"
_ATTRIBUTES = "clip-path cx cy d fill height opacity points preserveAspectRatio r rx ry stroke"
_ATTRIBUTES += " stroke-width text-anchor transform viewBox width x x1 x2 y y1 y2"
_OF_DRAWINGS = frozenset(_ATTRIBUTES.split())
_STYLES = ALLOWED_SVG_PROPERTIES | {"stroke-dasharray", "stroke-dashoffset", "text-anchor"}
_DRAWN = frozenset(_DRAWINGS.split())
_TAGS = frozenset({*_BLOCKS.split(), *_WORDS.split(), *_TABLES.split(), *_DRAWN, *_UNREAD})
# What a style or a drawing refers to is in the same page.
_ELSEWHERE = re.compile(r"url\((?!\s*[\"']?#)", re.I)


def inert(html: str) -> str:
    """The same without what acts or loads: no scripts, styles, forms, frames and redirections;
    pictures only where they are part of it; drawings that do not move; links only to the web, by
    mail or within."""
    cleaner = Cleaner(
        tags=_TAGS,
        attributes=_is_allowed,
        protocols={"http", "https", "mailto", "data"},
        strip=True,
        filters=[_WithoutUnread],
        css_sanitizer=CSSSanitizer(allowed_svg_properties=_STYLES),
    )
    return str(cleaner.clean(html))


def _is_allowed(tag: str, name: str, value: str) -> bool:
    if name == "src":
        return tag == "img" and value.lower().startswith("data:image/")
    if name == "href":
        is_link = tag == "a" and not value.strip().lower().startswith("data:")
        return is_link or (tag == "use" and value.startswith("#"))
    if _ELSEWHERE.search(value):
        return False
    if tag in _DRAWN and name in _OF_DRAWINGS:
        return True
    return name in _EVERYWHERE or name.startswith("aria-") or name in _OF_ONE.get(tag, ())


class _WithoutUnread(Filter):  # type: ignore[misc]  # bleach has no types
    """Leaves out elements with all that is in them. What it is given is a tree: each element
    that begins also ends."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        depth = 0
        for token in super().__iter__():
            is_unread = token.get("name") in _UNREAD
            if is_unread and token["type"] == "StartTag":
                depth += 1
            elif is_unread and token["type"] == "EndTag":
                depth -= 1
            elif depth == 0 and not is_unread:
                yield token
