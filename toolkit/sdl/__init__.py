"""Akash's deployment language: read it, check it, make it.

`parse` gives the typed document, `validate` every problem with its place and remedy,
`render` an SDL from a template.
"""

from toolkit.sdl.inputs import GPUChoice, GPURequest, RenderInputs
from toolkit.sdl.model import SDL
from toolkit.sdl.parse import Document, parse
from toolkit.sdl.problems import Level, Position, Problem, Report
from toolkit.sdl.render import render, template_names
from toolkit.sdl.validate import validate

__all__ = [
    "SDL",
    "Document",
    "GPUChoice",
    "GPURequest",
    "Level",
    "Position",
    "Problem",
    "RenderInputs",
    "Report",
    "parse",
    "render",
    "template_names",
    "validate",
]
