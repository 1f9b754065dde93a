"""Akash's deployment language: read it, check it, make it.

`parse` gives the typed document and `dump` its text again, `validate` every problem with its
place and remedy, `diff` what an update takes, `render` an SDL from a template.
"""

from toolkit.sdl.compose import compose
from toolkit.sdl.diff import Change, Diff, Effect, diff
from toolkit.sdl.dump import dump
from toolkit.sdl.groups import Units, group_specs
from toolkit.sdl.inputs import GPUChoice, GPURequest, RegistryAccess, RenderInputs
from toolkit.sdl.manifest import manifest, manifest_hash
from toolkit.sdl.model import SDL
from toolkit.sdl.parse import Document, parse
from toolkit.sdl.problems import Level, Position, Problem, Report
from toolkit.sdl.render import render, template_names
from toolkit.sdl.validate import validate

__all__ = [
    "SDL",
    "Change",
    "Diff",
    "Document",
    "Effect",
    "GPUChoice",
    "GPURequest",
    "Level",
    "Position",
    "Problem",
    "RegistryAccess",
    "RenderInputs",
    "Report",
    "Units",
    "compose",
    "diff",
    "dump",
    "group_specs",
    "manifest",
    "manifest_hash",
    "parse",
    "render",
    "template_names",
    "validate",
]
