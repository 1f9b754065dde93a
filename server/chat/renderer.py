"""Renders chat templates in processes that can be killed.

One process does the work. A second one is started when somebody has waited too long for
the first. A template that once took longer than its deadline, or that took its process with
it, is suspect: at most one process at a time works for those, so the other one is there
for everybody else.
"""

import asyncio
import itertools
import logging
from collections import deque
from dataclasses import dataclass

from server.chat.messages import Conversation
from server.chat.render_messages import (
    Describe,
    Described,
    Failed,
    FromWorker,
    Render,
    Rendered,
    encode,
)
from server.chat.render_process import MAX_TEMPLATES, RenderProcess
from server.chat.template import OTHERWISE, ChatTemplate
from server.chat.template_facts import TemplateFacts
from server.engine.types import Segment
from server.errors import InvalidRequest, ModelUnusable, Overloaded, ServerError

DEADLINE_S = 2.0
# A process that was not ended in time, because the server is gone, ends itself this much later.
_GRACE_S = 1.0
_MOST_PROCESSES = 2
_PATIENCE_S = 0.05
_MOST_DEATHS = 2

_log = logging.getLogger("akash_llm.renderer")


@dataclass(slots=True, eq=False)
class _Known:
    """A template that was asked about."""

    template: ChatTemplate
    key: int
    facts: TemplateFacts | None = None
    is_suspect: bool = False


@dataclass(slots=True, eq=False)
class _Job:
    """A question on its way to an answer; `num_deaths` processes have ended on it."""

    known: _Known
    frame: bytes
    answer: asyncio.Future[Rendered | Described]
    num_deaths: int = 0
    timer: asyncio.TimerHandle | None = None


class Renderer:
    """Owns the processes. Usable until `close`; none is started before it is needed."""

    def __init__(self, *, deadline_s: float = DEADLINE_S) -> None:
        """`deadline_s` is how long one rendering may take."""
        self._deadline_s = deadline_s
        self._keys = itertools.count(1)
        self._known: dict[ChatTemplate, _Known] = {}
        self._waiting: deque[_Job] = deque()
        self._idle: list[RenderProcess] = []
        self._busy: dict[RenderProcess, _Job] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self._starting: asyncio.Task[None] | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._is_closed = False

    @property
    def pids(self) -> list[int]:
        """The running processes, for tests and diagnosis."""
        return [each.pid for each in (*self._idle, *self._busy) if each.pid is not None]

    async def open(self) -> None:
        """Start a process now, so that the first rendering need not wait for it."""
        if not (self._is_closed or self._idle or self._busy):
            await asyncio.wait([self._start()])

    async def render(self, template: ChatTemplate, conversation: Conversation) -> list[Segment]:
        """The prompt of a conversation, in pieces that are or are not to be read as control
        text. A place for an image is a special segment of `IMAGE_MARKER` alone.

        Raises `InvalidRequest` if the template refuses the conversation, fails with it or
        takes too long or too much memory; `ModelUnusable` if the template is broken;
        `Overloaded` if no process can be started.
        """
        known = self._recall(template)
        answer = await self._ask(known, Render(known.key, conversation.without_images()))
        return answer.segments if isinstance(answer, Rendered) else []

    async def describe(self, template: ChatTemplate) -> TemplateFacts:
        """What the template can do. Remembered. Raises like `render`."""
        known = self._recall(template)
        if known.facts is None:
            answer = await self._ask(known, Describe(known.key))
            known.facts = answer.facts if isinstance(answer, Described) else TemplateFacts()
        return known.facts

    async def close(self) -> None:
        """End the processes and what waits for them. May be called twice."""
        self._is_closed = True
        if self._patience is not None:
            self._patience.cancel()
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting])
        self._fail_waiting(_shutting_down())
        for job in self._busy.values():
            _settle(job, _shutting_down())
        for process in (*self._idle, *self._busy):
            self._retire(process)
        while self._retiring:
            await asyncio.wait(self._retiring)

    def _recall(self, template: ChatTemplate) -> _Known:
        known = self._known.pop(template, None) or _Known(template, next(self._keys))
        self._known[template] = known  # the last one in is the last one out
        if len(self._known) > MAX_TEMPLATES:
            del self._known[next(iter(self._known))]
        return known

    async def _ask(self, known: _Known, question: Render | Describe) -> Rendered | Described:
        if self._is_closed:
            raise _shutting_down()
        job = _Job(known, _frame(question), asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self._dispatch()
        try:
            return await job.answer
        finally:
            if job in self._waiting:
                self._waiting.remove(job)

    # who works for whom

    def _dispatch(self) -> None:
        """Give idle processes what waits, oldest first, and see whether one more is needed."""
        for job in tuple(self._waiting):
            if self._idle and self._may_begin(job):
                self._waiting.remove(job)
                self._begin(self._idle.pop(), job)
        if not self._is_closed and any(map(self._may_begin, self._waiting)):
            self._reinforce()

    def _may_begin(self, job: _Job) -> bool:
        is_one_at_work = any(other.known.is_suspect for other in self._busy.values())
        return not (job.known.is_suspect and is_one_at_work)

    def _begin(self, process: RenderProcess, job: _Job) -> None:
        self._busy[process] = job
        loop = asyncio.get_running_loop()
        job.timer = loop.call_later(self._deadline_s, process.condemn, "its time is up")
        process.ask(job.known.key, job.known.template, job.frame)

    def _reinforce(self) -> None:
        if self._starting or len(self._idle) + len(self._busy) >= _MOST_PROCESSES:
            return
        if not self._busy:
            self._start()
        elif self._patience is None:
            loop = asyncio.get_running_loop()
            self._patience = loop.call_later(_PATIENCE_S, self._lose_patience)

    def _lose_patience(self) -> None:
        self._patience = None
        has_room = len(self._idle) + len(self._busy) < _MOST_PROCESSES
        if has_room and any(map(self._may_begin, self._waiting)):
            self._start()

    def _start(self) -> asyncio.Task[None]:
        if self._starting is None:
            self._starting = asyncio.create_task(self._start_process())
        return self._starting

    async def _start_process(self) -> None:
        try:
            limit_s = self._deadline_s + _GRACE_S
            self._idle.append(await RenderProcess.start(limit_s, self._on_answer, self._on_end))
        except ServerError as error:
            _log.error("%s", error)
            if not self._busy:
                self._fail_waiting(error)
        finally:
            self._starting = None
        self._dispatch()

    def _fail_waiting(self, error: ServerError) -> None:
        for job in self._waiting:
            _settle(job, error)
        self._waiting.clear()

    # what the processes say

    def _on_answer(self, process: RenderProcess, answer: FromWorker) -> None:
        job = self._finish(process)
        if job is None:
            return
        if isinstance(answer, Failed) and answer.is_worn_out:
            job.known.is_suspect = True
            self._retire(process)
        elif not process.was_condemned:  # it may have been, a moment too late
            self._idle.append(process)
        _settle(job, _outcome(answer))
        self._dispatch()

    def _on_end(self, process: RenderProcess) -> None:
        if process in self._idle:
            self._idle.remove(process)
        self._retire(process)
        job = self._finish(process)
        if job is not None:
            self._on_death(job, was_overdue=process.was_condemned)
        self._dispatch()

    def _on_death(self, job: _Job, *, was_overdue: bool) -> None:
        """A process has ended on a job: for which it is to blame, or the process was killed
        from outside. In the second case it passes when it is tried again."""
        job.known.is_suspect = True
        job.num_deaths += 1
        _log.warning("a chat template %s", "took too long" if was_overdue else "lost its process")
        if was_overdue:
            _settle(job, _overdue(self._deadline_s))
        elif job.num_deaths >= _MOST_DEATHS:
            _settle(job, _fatal())
        elif not job.answer.done():
            self._waiting.appendleft(job)

    def _retire(self, process: RenderProcess) -> None:
        """End it and wait for that beside everything else."""
        task = asyncio.create_task(process.stop())
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    def _finish(self, process: RenderProcess) -> _Job | None:
        job = self._busy.pop(process, None)
        if job is not None and job.timer is not None:
            job.timer.cancel()
        return job


def _frame(question: Render | Describe) -> bytes:
    try:
        return encode(question)
    except (UnicodeEncodeError, OverflowError, RecursionError, TypeError) as error:
        raise InvalidRequest(f"the messages or tools cannot be written down: {error}") from None


def _settle(job: _Job, outcome: Rendered | Described | ServerError) -> None:
    """Tell who waits for it, if somebody still does."""
    if job.answer.done():
        return
    if isinstance(outcome, ServerError):
        job.answer.set_exception(outcome)
    else:
        job.answer.set_result(outcome)


def _outcome(answer: FromWorker) -> Rendered | Described | ServerError:
    if isinstance(answer, Rendered | Described):
        return answer
    if not isinstance(answer, Failed):
        return _fatal()
    kind = ModelUnusable if answer.is_broken else InvalidRequest
    return kind(answer.message, hint=answer.hint)


def _overdue(deadline_s: float) -> InvalidRequest:
    return InvalidRequest(
        f"the model's chat template took longer than {deadline_s:g} s with this conversation",
        hint=OTHERWISE,
    )


def _fatal() -> InvalidRequest:
    return InvalidRequest(
        "the model's chat template ended the process that it ran in, twice", hint=OTHERWISE
    )


def _shutting_down() -> Overloaded:
    return Overloaded("the server is shutting down", retry_after_s=1)
