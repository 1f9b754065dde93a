"""Every expected failure of the toolkit, as one tree, with its exit code.

    ToolkitError               1
    ├── UsageError             2   an argument or parameter that cannot be meant
    ├── ConfigError            3   configuration that is not ok
    │   └── SDLError           3   an SDL with problems (a list)
    ├── CredentialsError       4   a key or token that is missing or refused
    ├── CapacityError          5   no bids, no room, no such hardware
    ├── DeadlineError          6   something did not happen in time
    ├── EndpointError          7   the endpoint is not healthy or answered wrongly
    │   ├── RequestRefused     7   the endpoint answered with an error (status, code)
    │   └── ReplyLost          7   sent once, and what became of it is not known
    ├── SLOMissed              8   measured, and not good enough
    └── BudgetError            9   it would cost more than allowed
        └── FundsMissing       9   it would cost more than the account holds

`message` is one sentence, `hint` the next step. A user never sees a traceback for
one of these. `automation.run` finds the exit code by the class named in the cell
that failed, so the names are part of the interface.
"""

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from toolkit.sdl.problems import Problem

EXIT_OK = 0
EXIT_INTERRUPTED = 130


class ToolkitError(Exception):
    """An expected failure: one message, one next step, one exit code."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message

    def _render_traceback_(self) -> list[str]:
        """What IPython shows of it in a notebook: where it was raised says nothing to a reader."""
        return [f"{type(self).__name__}: {self.message}", *([self.hint] if self.hint else [])]


class UsageError(ToolkitError):
    """An argument or parameter that cannot be meant."""

    exit_code = 2


class ConfigError(ToolkitError):
    """Configuration that is not ok."""

    exit_code = 3


class SDLError(ConfigError):
    """An SDL with problems; `problems` lists them."""

    def __init__(
        self, message: str, *, hint: str = "", problems: "tuple[Problem, ...]" = ()
    ) -> None:
        super().__init__(message, hint=hint)
        self.problems = problems


class CredentialsError(ToolkitError):
    """A key or token that is missing or refused."""

    exit_code = 4


class CapacityError(ToolkitError):
    """No bids, no room, no such hardware."""

    exit_code = 5


class DeadlineError(ToolkitError):
    """Something did not happen in time."""

    exit_code = 6


class EndpointError(ToolkitError):
    """The endpoint is not healthy or answered wrongly."""

    exit_code = 7


class RequestRefused(EndpointError):
    """The endpoint answered with an error; `status` is the HTTP status, 200 in a stream.

    `code` is its own name for it, if it has one; `retry_after_s` when it asks to wait.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        hint: str = "",
        code: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s


class ReplyLost(EndpointError):
    """Something that changes or costs was sent, once, and its outcome is not known.

    It must not be sent again before somebody has looked; the hint says where.
    """


class SLOMissed(ToolkitError):
    """Measured, and not good enough."""

    exit_code = 8


class BudgetError(ToolkitError):
    """It would cost more than allowed."""

    exit_code = 9


class FundsMissing(BudgetError):
    """It would cost more than the account holds.

    `needed_usd` and `available_usd` as far as they were told; `retry_after_s` when money is
    on its way.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        needed_usd: float | None = None,
        available_usd: float | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.needed_usd = needed_usd
        self.available_usd = available_usd
        self.retry_after_s = retry_after_s
