"""Pictures for the next message: from the browser, or by a path on the kernel's machine.

What is uploaded leaves the widget at once, so that it is not saved with the notebook.
"""

import html
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets

from toolkit.errors import ToolkitError, UsageError
from toolkit.widgets.chat.pictures import (
    MAX_PICTURE_BYTES,
    MAX_PICTURES,
    Picture,
    picture_of,
    read_picture,
)
from toolkit.widgets.controls import button, show
from toolkit.widgets.task import HomeLoop
from toolkit.widgets.typed import TEXT_GRACE_S, on_enter

NONE = f"No picture yet: PNG, JPEG, WebP or GIF, up to {MAX_PICTURE_BYTES / 1e6:.0f} MB each."


class Attaching:
    """Hidden until `offer`ed, which is where the model can see. `failed` gets refusals."""

    def __init__(self, home: HomeLoop, failed: Callable[[ToolkitError], None]) -> None:
        self._home = home
        self._failed = failed
        self._pictures: list[Picture] = []
        self.upload = widgets.FileUpload(
            description="Attach picture",
            accept="image/png,image/jpeg,image/webp,image/gif",
            layout=widgets.Layout(width="176px", flex="0 0 auto"),
        )
        self.upload.observe(self._uploaded, "value")
        self.path = widgets.Text(
            description="or its path",
            placeholder="on the machine of the kernel",
            layout=widgets.Layout(flex="1 1 160px", width="auto", min_width="0"),
        )
        on_enter(home, self.path, self._by_path)
        self.add = button(
            home, "Attach", "Attach this picture", self._by_path, after_s=TEXT_GRACE_S
        )
        self.drop = button(home, "Remove", "Send no picture", self.clear)
        self._names = widgets.HTML(layout=widgets.Layout(flex="1 1 100%"))
        self.view = widgets.HBox(
            [self.upload, self.path, self.add, self.drop, self._names],
            layout=widgets.Layout(flex_flow="row wrap", align_items="center"),
        )
        self.offer(False)
        self._show()

    def offer(self, can_see: bool) -> None:
        """Show this for a model that can see; for another nothing stays attached."""
        show(self.view, can_see)
        if not can_see:
            self.clear()

    def take(self) -> tuple[Picture, ...]:
        """The pictures of the message that is sent now; none are left."""
        taken = tuple(self._pictures)
        self.clear()
        return taken

    def put_back(self, pictures: tuple[Picture, ...]) -> None:
        """Attach what a message had that was taken back."""
        self._pictures = list(pictures)
        self._show()

    def clear(self) -> None:
        """Attach nothing."""
        self.put_back(())

    def _uploaded(self, change: dict[str, Any]) -> None:
        files = [(bytes(file["content"]), str(file["name"])) for file in change["new"]]
        if files:
            self.upload.value = ()
            self._home.do(lambda: self._attach_uploaded(files))

    def _attach_uploaded(self, files: list[tuple[bytes, str]]) -> None:
        self._attach(lambda: [picture_of(*file) for file in files])

    def _by_path(self) -> None:
        path = str(self.path.value).strip()
        if path and self._attach(lambda: [read_picture(path)]):
            self.path.value = ""

    def _attach(self, read: Callable[[], list[Picture]]) -> bool:
        try:
            found = [*self._pictures, *read()]
            if len(found) > MAX_PICTURES:
                raise UsageError(
                    f"A message has at most {MAX_PICTURES} pictures.", hint="Remove them first."
                )
        except ToolkitError as error:
            self._failed(error)
            return False
        self._pictures = found
        self._show()
        return True

    def _show(self) -> None:
        labels = ", ".join(picture.label for picture in self._pictures)
        text = f"Attached: {labels}" if labels else NONE
        self._names.value = f'<div class="akl-hint">{html.escape(text)}</div>'
        self.drop.disabled = not labels
