"""Run a notebook to its end: typed parameters in, a folder with results and an exit code out.

    runs/<UTC time>-<notebook>/
    ├── <notebook>.ipynb     as executed, also when it failed
    ├── result.json          status, exit code, error, scraps; `running` until it ends
    ├── worker.log           what papermill and the kernel had to say
    ├── attempt-1/          the same of an earlier attempt, where a run was gone on with
    ├── <name>.sdl.yaml      of each deployment that the run opened or named
    └── <name>.log           the end of its log

A run that fails closes what it opened, by the ledger: rows carry the id of their run.
"""

import asyncio
import importlib.util
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from toolkit import jsontext
from toolkit.automation.artefacts import as_json, clean_value, keep_deployments, write_whole
from toolkit.automation.events import CellStarted, End, Event, Failed, Finished, Job, Printed
from toolkit.automation.glue import read_scraps
from toolkit.automation.params import check_parameters, find_notebook, read_cells
from toolkit.automation.run_folder import (
    RESULT,
    WORKER_LOG,
    RunError,
    RunResult,
    earlier_run,
    holding,
    run_folder,
    set_aside,
)
from toolkit.deploy.base import Progress, Update
from toolkit.deploy.keeper import RUN_VARIABLE, Keeper
from toolkit.errors import EXIT_INTERRUPTED, EXIT_OK, ConfigError, DeadlineError, ToolkitError
from toolkit.safetext import cleaned

KERNEL_TIMEOUT_S = 120
NEEDED = ("papermill", "ipykernel")
STOP_GRACE_S = 20.0
LINE_BYTES = 1 << 22
WORKER = (sys.executable, "-P", "-m", "toolkit.automation.worker")

_SILENT = {"KeyboardInterrupt": "it was interrupted", "CancelledError": "it was cancelled"}
_INTERRUPTED = tuple(_SILENT)
_TIMEOUTS = ("CellTimeout",)
_SYSTEM_EXIT = "it called sys.exit: the cells behind that were not executed"
_HINTS = {
    "SystemExit": "Raise an error instead.",
    "DeadWorker": "What it said last is in worker.log, in the folder of this run.",
}


async def run_notebook(
    name: str,
    parameters: Mapping[str, object] | None = None,
    *,
    texts: Mapping[str, str] | None = None,
    out: Path | None = None,
    resume: bool = False,
    run_id: str | None = None,
    cell_timeout_s: int | None = None,
    kernel_timeout_s: int = KERNEL_TIMEOUT_S,
    progress: Progress | None = None,
    echo: Callable[[str], None] | None = None,
) -> RunResult:
    """Execute a notebook in a kernel of this environment and keep what came of it.

    `parameters` are values of the declared types, `texts` are converted to them; both
    are checked before anything starts (`UsageError`). `echo` gets what cells print, as
    they do. A notebook that fails is a result with its exit code, not an exception.
    Cancelled, it ends the kernel, closes what the run opened, and writes its result.

    With `resume`, a run in the folder `out` that came to its end well is not executed again:
    its result is returned. One that did not is begun again as the same run, so what it opened
    and could not close (it was killed) is adopted, not opened a second time.

    `run_id` is for runs that belong together: what they open carries it in the ledger.
    """
    _check_installed()
    notebook = find_notebook(name).resolve()
    given = check_parameters(notebook, texts or {}, parameters or {})
    started = datetime.now(UTC)
    folder = run_folder(out, notebook, started)
    with holding(folder):
        before = earlier_run(folder, notebook, given) if resume else None
        if before is not None and before.status == "ok":
            return before
        run = _Run(notebook, given, folder, started, cell_timeout_s)
        run.run_id = run_id or run.run_id
        if before is not None:
            set_aside(folder, before)
            run.follow(before)
        run.write(run.result("running"))
        return await _executed(run, kernel_timeout_s, progress, echo)


async def _executed(
    run: "_Run",
    kernel_timeout_s: int,
    progress: Progress | None,
    echo: Callable[[str], None] | None,
) -> RunResult:
    try:
        end = await run.execute(kernel_timeout_s, progress, echo)
    except BaseException as error:
        is_interrupt = isinstance(error, asyncio.CancelledError | KeyboardInterrupt)
        kind = "KeyboardInterrupt" if is_interrupt else type(error).__name__
        run.say_what_is_open(progress)
        ended = await run.finish(Failed(kind, str(error) or "interrupted"))
        if progress is not None and ended.closed:
            names = ", ".join(ended.closed)
            progress(Update("close", f"{names}, which this run had opened", ended.elapsed_s))
        raise
    return await run.finish(end)


class _Run:
    """One execution: its folder, its worker, its result."""

    def __init__(
        self,
        notebook: Path,
        parameters: dict[str, object],
        folder: Path,
        started: datetime,
        cell_timeout_s: int | None,
    ) -> None:
        self.notebook = notebook
        self.parameters = parameters
        self.folder = folder
        self.output = folder / notebook.name
        self.run_id = f"{started:%Y%m%dT%H%M%SZ}-{notebook.stem}-{secrets.token_hex(4)}"
        self.attempt = 1
        self._started = started
        self._clock = time.monotonic()
        self._cell_timeout_s = cell_timeout_s

    def follow(self, before: RunResult) -> None:
        """Be the same run as an earlier attempt."""
        self.run_id, self.attempt = before.run_id, before.attempt + 1

    async def execute(
        self,
        kernel_timeout_s: int,
        progress: Progress | None,
        echo: Callable[[str], None] | None,
    ) -> End:
        """Start the worker and listen to it until it ends."""
        job = Job(
            notebook=str(self.notebook),
            output=str(self.output),
            parameters=self.parameters,
            kernel_timeout_s=kernel_timeout_s,
            cell_timeout_s=self._cell_timeout_s,
        )
        environment = {
            **os.environ,
            RUN_VARIABLE: self.run_id,
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        }
        with (self.folder / WORKER_LOG).open("wb") as log:
            worker = await asyncio.create_subprocess_exec(
                *WORKER,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=environment,
                limit=LINE_BYTES,
                start_new_session=True,
            )
            try:
                return await self._listen(worker, job, progress, echo)
            finally:
                await _stop(worker)

    async def _listen(
        self,
        worker: asyncio.subprocess.Process,
        job: Job,
        progress: Progress | None,
        echo: Callable[[str], None] | None,
    ) -> End:
        if worker.stdin is None or worker.stdout is None:
            raise ValueError("the worker must have been given pipes")
        worker.stdin.write(jsontext.encoded(job) + b"\n")
        number: int | None = None
        async for line in worker.stdout:
            event: Event = msgspec.json.decode(line, type=Event)
            if isinstance(event, CellStarted):
                number = event.number
                if progress is not None:
                    phase = f"cell {event.number} of {event.of}"
                    progress(Update(phase, cleaned(event.title), self._elapsed_s))
            elif isinstance(event, Printed):
                if echo is not None:
                    echo(str(clean_value(cleaned(event.text))))  # logs of CI are kept, too
            elif isinstance(event, Failed) and event.cell is None:
                return msgspec.structs.replace(event, cell=number)
            else:
                return event
        return Failed("DeadWorker", "the program that runs notebooks died", number)

    def say_what_is_open(self, progress: Progress | None) -> None:
        """Before it is closed, which may take long: who interrupts that, too, has been told."""
        names = [record.name for record in Keeper().ledger.open_records(run_id=self.run_id)]
        if names and progress is not None:
            text = f"{', '.join(names)}; if this is interrupted: akash-llm close {' '.join(names)}"
            progress(Update("closing", text, self._elapsed_s))

    async def finish(self, end: End) -> RunResult:
        """Close what a failed run opened, keep what is wanted, write the result."""
        keeper = Keeper()
        mine = [r for r in keeper.ledger.records() if r.run_id == self.run_id]
        scraps = read_scraps(read_cells(self.output)) if self.output.exists() else {}
        named = keeper.ledger.find(str(scraps["name"])) if "name" in scraps else None
        keep_deployments(self.folder, [*mine, *([named] if named else [])])
        result = self.result(_status(end), end, scraps)
        self.write(result)  # whatever becomes of what it opened
        if isinstance(end, Failed):
            closed = await keeper.close_runs(self.run_id)
            result = self.result(_status(end), end, scraps, tuple(r.name for r in closed))
            self.write(result)
        return result

    def result(
        self,
        status: Literal["running", "ok", "failed", "interrupted"],
        end: End | None = None,
        scraps: dict[str, Any] | None = None,
        closed: tuple[str, ...] = (),
    ) -> RunResult:
        error = error_of(end) if isinstance(end, Failed) else None
        return RunResult(
            run_id=self.run_id,
            attempt=self.attempt,
            notebook=str(self.notebook),
            status=status,
            exit_code=exit_code_of(end) if end is not None else None,
            error=error,
            parameters=self.parameters,
            scraps=scraps or {},
            started_at=self._started,
            elapsed_s=round(self._elapsed_s, 3),
            folder=str(self.folder),
            output=str(self.output),
            closed=closed,
        )

    def write(self, result: RunResult) -> None:
        """The result as `result.json`; it is there, as `running`, from the beginning."""
        write_whole(self.folder / RESULT, as_json(clean_value(msgspec.to_builtins(result))))

    @property
    def _elapsed_s(self) -> float:
        return time.monotonic() - self._clock


def exit_code_of(end: End) -> int:
    """The exit code of the class that a cell failed with; 1 for those we do not know."""
    if isinstance(end, Finished):
        return EXIT_OK
    if end.error in _INTERRUPTED:
        return EXIT_INTERRUPTED
    if end.error in _TIMEOUTS:
        return DeadlineError.exit_code
    return _exit_codes(ToolkitError).get(end.error, 1)


def error_of(end: Failed) -> RunError:
    """The error for a person: first line, next step, and nothing that moves a cursor."""
    text = str(clean_value(cleaned(end.message)))
    if end.error in _exit_codes(ToolkitError):
        message, _, hint = text.rpartition("\n") if "\n" in text else (text, "", "")
        return RunError(end.error, message, hint, end.cell)
    if end.error == "SystemExit":
        text = _SYSTEM_EXIT
    text = text or _SILENT.get(end.error, end.error)
    return RunError(end.error, text, _HINTS.get(end.error, ""), end.cell)


def _exit_codes(kind: type[ToolkitError]) -> dict[str, int]:
    codes = {kind.__name__: kind.exit_code}
    for child in kind.__subclasses__():
        codes |= _exit_codes(child)
    return codes


def _status(end: End) -> Literal["ok", "failed", "interrupted"]:
    if isinstance(end, Finished):
        return "ok"
    return "interrupted" if end.error in _INTERRUPTED else "failed"


def _check_installed() -> None:
    missing = [name for name in NEEDED if not importlib.util.find_spec(name)]
    if missing:
        raise ConfigError(
            f"notebooks cannot be run here: {', '.join(missing)} is missing",
            hint="Install it: pip install 'akash-llm[notebook]'",
        )


async def _stop(worker: asyncio.subprocess.Process) -> None:
    """End the worker, which ends its kernel; kill it if it takes too long."""
    if worker.stdin is not None:
        worker.stdin.close()  # it ends by itself on that
    try:
        async with asyncio.timeout(STOP_GRACE_S):
            await worker.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        await worker.wait()
