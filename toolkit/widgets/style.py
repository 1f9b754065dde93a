"""The look of the panels: one style sheet on JupyterLab's theme variables.

The variables make it follow the light and dark themes; the values after the commas
serve front ends without them. A theme's own colours for less important text, warnings and
errors do not stand out enough from its grounds (4.5 to 1), so they are mixed with its text.
Figures are tabular, and nothing is animated.
"""

from typing import TypeVar

import ipywidgets as widgets

W = TypeVar("W", bound=widgets.DOMWidget)

SHEET = """
<style>
.akl {
  --akl-text: var(--jp-ui-font-color1, #1f2328);
  --akl-muted: color-mix(in srgb, var(--akl-text) 74%, transparent);
  --akl-line: var(--jp-border-color2, #d0d7de);
  --akl-ground: var(--jp-layout-color1, #fff);
  --akl-raised: var(--jp-layout-color2, #f3f4f6);
  --akl-accent: var(--jp-brand-color1, #1976d2);
  --akl-ink: var(--jp-ui-font-color0, #000);
  --akl-error: color-mix(in srgb, var(--jp-error-color1, #c62828) 75%, var(--akl-ink));
  --akl-warn: color-mix(in srgb, var(--jp-warn-color1, #a15c00) 60%, var(--akl-ink));
  --akl-mono: var(--jp-code-font-family, ui-monospace, monospace);
  max-width: 880px; border: 1px solid var(--akl-line); border-radius: 10px;
  background: var(--akl-ground); color: var(--akl-text);
  font-family: var(--jp-ui-font-family, system-ui, sans-serif); overflow: hidden;
}
.akl .widget-html, .akl .widget-html-content {
  line-height: 1.5; font-size: 14px; color: inherit; height: auto; margin: 0; width: 100%;
}
.akl-style { display: none; }
.akl-head { display: flex; align-items: baseline; gap: 12px; padding: 10px 16px;
  border-bottom: 1px solid var(--akl-line); background: var(--akl-raised); }
.akl-head b { font-size: 15px; font-weight: 600; }
.akl-head span { color: var(--akl-muted); font-size: 12.5px; font-variant-numeric: tabular-nums; }
.akl-head .akl-state { margin-left: auto; }
.akl-log { scrollbar-width: thin; }
.akl-msg { padding: 2px 16px 10px; box-sizing: border-box; }
.akl-who { font-size: 11.5px; font-weight: 600; letter-spacing: .03em; color: var(--akl-muted);
  margin: 8px 0 3px; }
.akl-user { display: flex; flex-direction: column; align-items: flex-end; }
.akl-user .akl-body { background: var(--akl-raised); border: 1px solid var(--akl-line);
  border-radius: 12px 12px 2px 12px; padding: 7px 13px; max-width: 82%; }
.akl-reply .akl-body { border-left: 3px solid var(--akl-accent); padding: 1px 0 1px 13px; }
.akl-failed .akl-body { border-left-color: var(--akl-error); }
.akl-body { overflow-wrap: anywhere; unicode-bidi: isolate; min-height: 21px; }
.akl-body p, .akl-body li, .akl-body td, .akl-body th, .akl-body h1, .akl-body h2,
.akl-body h3, .akl-plain { unicode-bidi: plaintext; }
.akl-body p { margin: 0 0 8px; } .akl-body > :last-child { margin-bottom: 0; }
.akl-body h1, .akl-body h2, .akl-body h3, .akl-body h4 { font-size: 15px; font-weight: 600;
  margin: 12px 0 6px; }
.akl-body ul, .akl-body ol { margin: 0 0 8px; padding-left: 22px; }
.akl-body pre { background: var(--akl-raised); border: 1px solid var(--akl-line);
  border-radius: 6px; padding: 9px 12px; margin: 6px 0 9px; overflow-x: auto;
  font: 12.5px/1.5 var(--akl-mono); color: inherit; white-space: pre; }
.akl-body code { font: 12.5px var(--akl-mono); background: var(--akl-raised); color: inherit;
  border-radius: 4px; padding: 1px 4px; }
.akl-body pre code { padding: 0; background: none; }
.akl-body table { border-collapse: collapse; margin: 6px 0 9px; font-size: 13px; }
.akl-body th, .akl-body td { border: 1px solid var(--akl-line); padding: 4px 9px; }
.akl-body blockquote { border-left: 3px solid var(--akl-line); margin: 6px 0;
  padding-left: 12px; color: var(--akl-muted); }
.akl-plain { white-space: pre-wrap; }
.akl-link { text-decoration: underline; text-decoration-color: var(--akl-muted); }
.akl-body details { margin: 0 0 8px; color: var(--akl-muted); font-size: 13px; }
.akl-wait { color: var(--akl-muted); font-variant-numeric: tabular-nums; }
.akl-facts { display: flex; flex-wrap: wrap; gap: 2px 18px; padding: 5px 0 0 16px;
  min-height: 20px; font-size: 12px; color: var(--akl-muted); font-variant-numeric: tabular-nums; }
.akl-facts b { font-weight: 600; color: var(--akl-text); }
.akl-mark { color: var(--akl-warn); font-weight: 600; }
.akl-error { color: var(--akl-error); font-weight: 600; }
.akl-empty { padding: 26px 16px 8px; text-align: center; color: var(--akl-muted); }
.akl-empty b { display: block; color: var(--akl-text); font-size: 16px; font-weight: 600;
  margin-bottom: 4px; }
.akl-status { padding: 4px 16px; min-height: 21px; font-size: 12.5px; color: var(--akl-muted);
  font-variant-numeric: tabular-nums; }
.akl-foot { border-top: 1px solid var(--akl-line); padding: 8px 12px 10px;
  background: var(--akl-raised); }
.akl .jupyter-button { border-radius: 6px; font-size: 13px; }
.akl .jupyter-button:not(.mod-primary):not(.mod-warning):not(.mod-danger) {
  background: var(--akl-ground); color: var(--akl-text); border: 1px solid var(--akl-line);
  line-height: 26px; }
.akl .jupyter-button.mod-active { border-color: var(--akl-accent) !important;
  box-shadow: inset 0 0 0 1px var(--akl-accent); }
.akl .jupyter-button.mod-warning { color: rgba(0, 0, 0, .87); }
/* The arrow of JupyterLab's menus is black in every theme. */
body[data-jp-theme-light=false] .akl { color-scheme: dark; }
body[data-jp-theme-light=false] .akl select { appearance: auto; background-image: none; }
.akl [tabindex]:focus-visible { outline: 2px solid var(--akl-accent); outline-offset: -2px; }
.akl .widget-button:focus-visible, .akl input:focus-visible, .akl textarea:focus-visible,
.akl select:focus-visible { outline: 2px solid var(--akl-accent); outline-offset: 1px; }
.akl input, .akl textarea, .akl select { border-radius: 6px !important; font-size: 13.5px; }
.akl .akl-starters { justify-content: center; flex-flow: row wrap; gap: 6px; padding: 0 16px 16px; }
.akl .akl-starters .widget-button { background: var(--akl-ground); color: var(--akl-text);
  width: auto; padding: 0 13px; }
.akl .akl-settings { padding: 8px 12px; border-top: 1px solid var(--akl-line); }
.akl-table { border-collapse: collapse; width: 100%; font-size: 13px;
  font-variant-numeric: tabular-nums; }
.akl-table th { text-align: right; font-weight: 600; color: var(--akl-muted); font-size: 12px;
  border-bottom: 1px solid var(--akl-line); padding: 5px 10px; vertical-align: bottom; }
.akl-table td { text-align: right; padding: 5px 10px; border-bottom: 1px solid var(--akl-line);
  white-space: nowrap; }
.akl-table th:first-child, .akl-table td:first-child { text-align: left; }
.akl-pad { padding: 8px 16px; }
.akl-plot svg { max-width: 100%; height: auto; color: var(--akl-text); }
</style>
"""


def sheet() -> widgets.HTML:
    """The style sheet as a widget without a size; each panel holds one."""
    return classed(widgets.HTML(SHEET), "akl-style")


def classed(widget: W, *names: str) -> W:
    """The widget with these style classes."""
    for name in names:
        widget.add_class(name)
    return widget
