"""Executes one notebook with papermill: `python -m toolkit.automation.worker`.

A process of its own, so that whoever waits for the notebook stays free and can end it.
It ends itself, and its kernel, when its standard input is closed: its parent is gone.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import papermill
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError
from papermill.iorw import papermill_io

from toolkit import jsontext
from toolkit.automation.artefacts import clean_notebook, write_whole
from toolkit.automation.events import CellStarted, End, Event, Failed, Finished, Job, Printed

ENGINE = "akash-llm"
SCHEME = "akash-llm-clean:"
TEXT_CHARS = 1 << 16

Say = Callable[[Event], None]


def main() -> None:
    """Read the job, execute it, say how it ended."""
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    # Only events may go there: whatever a library prints goes to the log.
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    lock = threading.Lock()

    def say(event: Event) -> None:
        with lock:
            channel.write(jsontext.encoded(event) + b"\n")
            channel.flush()

    say(_execute(job, say))


def _end_with_parent() -> None:
    while os.read(0, 1024):  # unbuffered: the interpreter may end while this waits
        pass
    os.kill(os.getpid(), signal.SIGINT)


def _execute(job: Job, say: Say) -> End:
    papermill_io.register(SCHEME, _CleanFiles)
    papermill_engines.register(ENGINE, _Engine)
    try:
        notebook = papermill.execute_notebook(
            _literal(job.notebook),
            SCHEME + _literal(job.output),
            parameters=job.parameters,
            engine_name=ENGINE,
            kernel_name="python3",
            language="python",  # not every editor writes it into the notebook
            progress_bar=False,
            start_timeout=job.kernel_timeout_s,
            execution_timeout=job.cell_timeout_s,
            say=say,
        )
    except PapermillExecutionError as error:
        return Failed(error.ename, error.evalue, error.exec_count)
    except CellTimeoutError:
        return Failed("CellTimeout", f"a cell took longer than {job.cell_timeout_s} s")
    except DeadKernelError:
        return Failed("DeadKernel", "the kernel died; often the machine had no memory left")
    except KeyboardInterrupt:
        return Failed("KeyboardInterrupt", "interrupted")
    except RuntimeError as error:  # how nbclient says that a kernel does not start
        return Failed("KernelStart", str(error))
    return _left_early(notebook) or Finished()


def _left_early(notebook: Any) -> Failed | None:
    """papermill takes `sys.exit(0)` for success, but what follows was never executed."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if output.output_type == "error":
                return Failed(output.ename, output.evalue, cell.execution_count)
    return None


def _literal(path: str) -> str:
    """papermill takes braces in paths for parameters."""
    return path.replace("{", "{{").replace("}", "}}")


class _CleanFiles:
    """papermill's way to write files: whole, and without secrets and widget state."""

    @classmethod
    def write(cls, text: str, path: str) -> None:
        document = jsontext.decoded(text)
        document["metadata"].get("papermill", {}).pop("output_path", None)
        write_whole(path.removeprefix(SCHEME), clean_notebook(document))

    @classmethod
    def pretty_path(cls, path: str) -> str:
        return path.removeprefix(SCHEME)


class _KernelManager(AsyncKernelManager):
    """Kernels of this very interpreter, whatever `python3` means to Jupyter here."""

    @property
    def kernel_spec(self) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, name="python3", display_name="Python 3", language="python")


class _Client(PapermillNotebookClient):  # type: ignore[misc]
    """Says which cell runs and what it prints."""

    def __init__(self, manager: Any, *, say: Say, **options: Any) -> None:
        super().__init__(manager, on_cell_start=self._started, **options)
        self._say = say

    def _started(self, cell: Any, cell_index: int) -> None:
        if cell.cell_type != "code":
            return
        codes = [i for i, c in enumerate(self.nb.cells) if c.cell_type == "code"]
        texts = [c.source for c in self.nb.cells[:cell_index] if c.cell_type == "markdown"]
        headings = [line for text in texts for line in text.splitlines() if line.startswith("#")]
        title = headings[-1].lstrip("# ") if headings else ""
        self._say(CellStarted(codes.index(cell_index) + 1, len(codes), title))

    def process_message(self, message: Any, *rest: Any, **named: Any) -> Any:
        content = message["content"]
        if message["msg_type"] == "stream" and content["name"] == "stdout":
            text = content["text"]
            for start in range(0, len(text), TEXT_CHARS):
                self._say(Printed(text[start : start + TEXT_CHARS]))
        return super().process_message(message, *rest, **named)


class _Engine(NBClientEngine):  # type: ignore[misc]
    """papermill's engine with our client and kernel manager."""

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: Any,
        kernel_name: str,
        *,
        say: Say,
        start_timeout: int,
        execution_timeout: int | None,
        **_: Any,
    ) -> Any:
        client = _Client(
            nb_man,
            say=say,
            kernel_name=kernel_name,
            kernel_manager_class=_KernelManager,
            timeout=execution_timeout,
            startup_timeout=start_timeout,
            store_widget_state=False,
        )
        return client.execute()


if __name__ == "__main__":
    main()
