"""Whether and where the conversation of a panel is kept.

A conversation is kept from the moment a person takes part in it. What code alone asks (a
notebook run by papermill, the first message of a notebook) leaves nothing on disk, unless
the code names the conversation.
"""

from pathlib import Path
from typing import NamedTuple

from toolkit.errors import ConfigError
from toolkit.safetext import well_formed
from toolkit.widgets.chat.conversation import Conversation
from toolkit.widgets.chat.folder import ConversationFolder, Entry, Place

NO_FILE = ""  # the name of what is shown and has no file


class Draft(NamedTuple):
    """A conversation that is not shown, and that no file has as it is."""

    conversation: Conversation
    place: Place | None
    is_on: bool


class Keeping:
    """The conversation that a panel shows, and its file.

    `is_on` says whether it is kept, `is_behind` whether its file could not be written last;
    `drafts` are those that have no file, or one that is behind, while another is shown.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = ConversationFolder(folder)
        self.conversation = Conversation()
        self.place: Place | None = None
        self.is_on = False
        self.is_behind = False
        self.drafts: dict[str, Draft] = {}
        self._num_drafts = 0

    def begin(self) -> None:
        """A new conversation, not kept yet."""
        self._set_aside()
        self._show(Conversation(), None)

    def back_to_draft(self, name: str) -> str:
        """The draft of that name, which is kept now if a person took part in it."""
        draft = self.drafts.pop(name)
        self._set_aside()
        self._show(draft.conversation, draft.place)
        self.is_on = draft.is_on
        return self.save()

    def open(self, name: str) -> None:
        """The conversation in that file; the one before stays if it cannot be opened."""
        conversation, place = self.folder.read(name)
        self._set_aside()
        self._show(conversation, place)

    def open_titled(self, title: str) -> None:
        """The latest conversation of that title or file name, or a new one that is kept."""
        title = well_formed(title)
        found = [e.name for e in self.folder.entries() if title in (e.title, e.name)]
        if found:
            self.open(found[0])
            return
        if title.endswith(".json"):
            raise ConfigError(
                f"There is no {title} in {self.folder.path}.",
                hint="Give a title to begin a new conversation.",
            )
        self.begin()
        self.conversation.given_title = title
        self.is_on = True

    def save(self) -> str:
        """Write it, if it is kept. What a person has to know about that, or nothing.

        An empty one that was never written is not worth a file.
        """
        if not self.is_on or (self.place is None and not self.conversation.turns):
            return ""
        before, self.is_behind = self.place, True
        self.place = self.folder.write(self.conversation, before)
        self.is_behind = False
        if before is None or before.name == self.place.name:
            return ""
        return (
            f"Another notebook changed or removed {before.name}: this conversation goes on in "
            f"{self.place.name}, and nothing of the other is lost."
        )

    def rename(self, title: str) -> str:
        """Give it a title, and keep it."""
        self.conversation.given_title = well_formed(title).strip()
        self.is_on = True
        return self.save()

    def delete(self) -> None:
        """Remove its file, and begin a new one."""
        if self.place is not None:
            self.folder.delete(self.place)
        self._show(Conversation(), None)

    def _set_aside(self) -> None:
        """Keep what no file has, before another conversation is shown."""
        if self.conversation.turns and (self.place is None or self.is_behind):
            self._num_drafts += 1
            name = f"draft {self._num_drafts}"
            self.drafts[name] = Draft(self.conversation, self.place, self.is_on)

    def _show(self, conversation: Conversation, place: Place | None) -> None:
        self.conversation, self.place, self.is_on = conversation, place, place is not None
        self.is_behind = False

    def choose(self, name: str) -> str:
        """What a person chose of `choices`."""
        if name in self.drafts:
            return self.back_to_draft(name)
        self.open(name)
        return ""

    def clear(self) -> str:
        """Remove every turn; the file stays only if it was given a title."""
        if not self.conversation.given_title:
            self.delete()
        self.conversation.turns.clear()
        return self.save()

    def choices(self) -> list[tuple[str, str]]:
        """Titles and file names that can be chosen, the one that is shown first."""
        entries = self.folder.entries()
        shown = self.place.name if self.place else NO_FILE
        made = [(self.conversation.title, shown)]
        for name, draft in reversed(self.drafts.items()):
            made.append((f"{draft.conversation.title} (not kept)", name))
        return made + [(_label(entry), entry.name) for entry in entries if entry.name != shown]

    def export_name(self) -> str:
        """The name of its file as Markdown, beside that of the conversation."""
        stem = Path(self.place.name if self.place else self.folder.new_name(self.conversation)).stem
        return f"{stem}.md"

    def where(self) -> str:
        """Where it is, in words."""
        if self.place is not None:
            return f"This conversation is kept in {self.folder.path / self.place.name}"
        return f"Once you write something, it is kept in {self.folder.path}"


def _label(entry: Entry) -> str:
    when = f" · {entry.updated_at:%d %b %H:%M}" if entry.updated_at else ""
    return f"{entry.title}{when}"
