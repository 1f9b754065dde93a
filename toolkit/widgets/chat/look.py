"""The look of the chat alone; what all panels share is in `toolkit.widgets.style`."""

import ipywidgets as widgets

from toolkit.widgets.style import classed

SHEET = """
<style>
.akl-chat .akl-msg .akl-who { display: block; }
.akl-chat .akl-picker { padding: 6px 12px; border-bottom: 1px solid var(--akl-line); }
.akl-chat .akl-attach { padding: 4px 12px; border-top: 1px solid var(--akl-line); }
.akl-chat .akl-facts { gap: 2px 10px; }
.akl-chat .akl-done span:nth-child(1) { min-width: 74px; }
.akl-chat .akl-done span:nth-child(2) { min-width: 110px; }
.akl-chat .akl-done span:nth-child(3) { min-width: 84px; }
.akl-chat .akl-done span:nth-child(4) { min-width: 172px; }
.akl-chat .akl-done span:nth-child(5) { min-width: 126px; }
.akl-chat .jupyter-button { min-width: 84px; }
.akl-chat .widget-toggle-button { min-width: 112px; }
.akl-chat .akl-starters .jupyter-button, .akl-chat .akl-quiet { min-width: 0; }
.akl-chat .akl-quiet { height: 24px; line-height: 22px; font-size: 12px; padding: 0 10px;
  margin: 2px 0 4px 16px; align-self: flex-start; color: var(--akl-muted); }
.akl-chat .akl-moves { flex: 0 0 auto; height: 0; overflow: hidden; text-align: center; }
.akl-chat .akl-moves:focus { height: 24px; }
.akl-chat .akl-moves .widget-html-content { font-size: 12px; color: var(--akl-muted); }
.akl-chat .akl-thinking { border-left: 3px solid var(--akl-line); padding: 2px 0 2px 13px;
  margin: 0 0 6px; color: var(--akl-muted); font-size: 13px; overflow-wrap: anywhere; }
.akl-chat .akl-picture { margin-top: 6px; font-size: 12px; color: var(--akl-muted); }
.akl-chat .akl-picture img { display: block; max-width: 160px; max-height: 160px;
  border-radius: 6px; margin-bottom: 2px; }
.akl-chat .akl-copy textarea { font: 12.5px/1.5 var(--akl-mono); white-space: pre; }
.akl-chat .akl-hint { padding: 2px 4px 6px; font-size: 12.5px; line-height: 1.45;
  color: var(--akl-muted); overflow-wrap: anywhere; }
</style>
"""


def chat_sheet() -> widgets.HTML:
    """The style sheet as a widget without a size."""
    return classed(widgets.HTML(SHEET), "akl-style")
