"""Turns that are asked again, by Retry or Edit last, and not lost before they are replaced."""

from toolkit.widgets.chat.conversation import Conversation, Turn, TurnState


class Revising:
    """The last turns of a conversation that the next message replaces.

    `count` of them were taken back to be edited: they are out of sight, and still in the
    conversation and its file. Once the message is sent they are held here until its reply
    has text; where none comes they go back, and an edit goes on.
    """

    def __init__(self) -> None:
        self.count = 0
        self._held: list[Turn] = []

    def take_back(self, conversation: Conversation) -> Turn | None:
        """The last turn that is in sight, to be edited; None where there is none."""
        turns = self.in_sight(conversation)
        if turns:
            self.count += 1
        return turns[-1] if turns else None

    def in_sight(self, conversation: Conversation) -> list[Turn]:
        """The turns without those that are edited."""
        return conversation.turns[: len(conversation.turns) - self.count]

    def give_up(self) -> None:
        """Edit nothing: all turns are in sight again."""
        self.count = 0

    def send(self, conversation: Conversation) -> None:
        """Take out what the message that is sent now replaces."""
        kept = self.in_sight(conversation)
        self._held = conversation.turns[len(kept) :]
        conversation.turns[:] = kept
        self.count = 0

    def holds_back(self, turn: Turn) -> bool:
        """Whether `turn` is not worth what it replaces, as long as nothing more comes."""
        is_worth_it = turn.text or turn.state is TurnState.COMPLETE
        return not is_worth_it and any(held.text for held in self._held)

    def settle(self, conversation: Conversation) -> bool:
        """When the reply is over: whether the turns went back in the place of the last one."""
        turn = conversation.turns[-1]
        is_lost = self.holds_back(turn)
        if is_lost:
            conversation.turns[-1:] = self._held
            self.count = len(self._held) if turn.prompt != self._held[0].prompt else 0
        self._held = []
        return is_lost
