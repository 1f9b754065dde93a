"""The operating system's side of a child process: start it, end it, and say why it ended."""

import asyncio
import os
import signal
import socket
import sys
from contextlib import suppress

# A runner that is told to go ends at once; one that hangs in C is killed after this. One
# whose socket is closed has ended, or is about to.
_GOODBYE_S = 2.0

# What every runner is started with, unless the environment of the server says otherwise.
ENVIRONMENT = {
    # gdb would be started for a back trace on abort and take a second.
    "GGML_NO_BACKTRACE": "1",
    # How often a thread looks before it sleeps at one of the thousand barriers of a step.
    # By default it looks for so long that two runners on the same cores take each other's
    # time slices: a step of 8 streams took 1,200 ms instead of 64 (2 cores, 135M model), with
    # this 94. Alone, 500 cost a tenth at one stream, more than this gains nothing, and 0
    # costs a factor of four.
    "GOMP_SPINCOUNT": "2000",
}


class RunnerProcess:
    """A started child process. Made by `start`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._verdict = ""

    @classmethod
    async def start(
        cls, theirs: socket.socket, module: str = "server.engine.runner", *arguments: str
    ) -> "RunnerProcess":
        """Start a module that talks over `theirs`, which the caller closes. It is told the
        number of the socket, then `arguments`."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            str(theirs.fileno()),
            *arguments,
            pass_fds=[theirs.fileno()],
            stdin=asyncio.subprocess.DEVNULL,
            env={**ENVIRONMENT, **os.environ},
        )
        return cls(process)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def was_condemned(self) -> bool:
        """Whether `condemn` ended it."""
        return bool(self._verdict)

    def condemn(self, why: str) -> None:
        """Kill it, for a reason that is told instead of the signal."""
        self._verdict = why
        self._kill()

    async def end(self) -> None:
        """Wait for it to go and kill it if it does not. May be called twice."""
        try:
            async with asyncio.timeout(_GOODBYE_S):
                await self._process.wait()
        except TimeoutError:
            self._kill()
            await self._process.wait()

    async def reason(self) -> str:
        """Why it ended, as what follows "the model runner"; waits for the end."""
        await self.end()
        code = self._process.returncode or 0
        if self._verdict:
            return f"hung and was ended: {self._verdict}"
        if code < 0:
            return f"was ended by {_signal_name(-code)}"
        return f"ended with exit code {code}"

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
