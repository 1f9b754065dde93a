"""x"""

from toolkit.sdl.findings import Rule

RULES: tuple[Rule, ...] = ()
