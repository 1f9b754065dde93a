"""Runs a matrix: one combination after the other, each ended before the next, within the budget.

FOLDER/
├── matrix.json          the file as it was read, and what came of each combination
├── matrix.md, .html     the comparison
└── 1/04_deploy/, …      the folder of each run
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from toolkit.automation.artefacts import as_json, clean_value, write_whole
from toolkit.automation.figures import SCRAP, figures_of
from toolkit.automation.matrix import Matrix, Point
from toolkit.automation.matrix_report import write_report
from toolkit.automation.matrix_result import MATRIX, MatrixResult, Outcome, Status
from toolkit.automation.params import read_parameters
from toolkit.automation.run import run_notebook
from toolkit.automation.run_folder import RunResult, holding, run_folder
from toolkit.deploy.base import Progress, Update
from toolkit.deploy.keeper import Keeper
from toolkit.deploy.watching import end_if_over
from toolkit.errors import EndpointError, ToolkitError, UsageError

WATCH_S = 30.0


class MatrixRun:
    """One matrix in its folder."""

    def __init__(
        self,
        matrix: Matrix,
        *,
        out: Path | None,
        source: Path,
        resume: bool = False,
        progress: Progress | None = None,
        watch_s: float = WATCH_S,
    ) -> None:
        """`source` names the folder among the runs, unless there is an `out`. With `resume`,
        what ended well there is kept, and the rest is run."""
        self._matrix = matrix
        self._started = datetime.now(UTC)
        self.folder = run_folder(out, source, self._started)
        self._resume = resume
        self._progress = progress or (lambda update: None)
        self._watch_s = watch_s
        self._keeper = Keeper()
        stem = f"{self._started:%Y%m%dT%H%M%SZ}-matrix-{secrets.token_hex(4)}"
        self.result = MatrixResult(matrix_id=stem, spec=matrix.spec, started_at=self._started)

    async def run(self) -> MatrixResult:
        """Run what is to be run. However it ends, nothing that it opened is left open."""
        with holding(self.folder):
            self._go_on()
            done = {one.number: one for one in self.result.outcomes if one.status == "ok"}
            await self._close(self.result.matrix_id)
            self._note(tuple(done.values()))
            try:
                for point in self._matrix.points:
                    if point.number not in done:
                        await self._run(point)
            finally:
                write_report(self.result, self.folder)
            return self.result

    def _go_on(self) -> None:
        """Take up what an earlier one has left in the folder. Raises `UsageError`."""
        try:
            found = msgspec.json.decode((self.folder / MATRIX).read_bytes(), type=MatrixResult)
        except FileNotFoundError:
            return
        except (msgspec.DecodeError, OSError):
            raise UsageError(
                f"the {MATRIX} in {self.folder} is none", hint="Give another --out."
            ) from None
        if not self._resume:
            raise UsageError(
                f"a matrix is in {self.folder} already",
                hint="Go on with it (--resume), or give another --out.",
            )
        # More may be spent than before; all else makes it another one.
        spec = self._matrix.spec
        if msgspec.structs.replace(found.spec, budget_usd=spec.budget_usd) != spec:
            raise UsageError(
                f"the matrix in {self.folder} was another one",
                hint="Give the same file, or another --out.",
            )
        self.result = msgspec.structs.replace(found, spec=spec)

    async def _run(self, point: Point) -> None:
        left = self._left_usd()
        if point.worst_usd and left is not None and point.worst_usd > left:
            why = f"it may cost ${point.worst_usd}, and ${max(left, Decimal(0)):.4f} are left"
            self._add(self._outcome(point, "skipped", why=why))
            return
        self._say(point, "begins")
        run_id = f"{self.result.matrix_id}-{point.number}"
        usd_per_hour: Decimal | None = None
        async with AsyncExitStack() as undoing:
            undoing.push_async_callback(self._close, run_id)
            async with self._watched(run_id):
                for notebook, parameters in point.parameters:
                    given = self._given(point, Path(notebook), parameters, left, usd_per_hour)
                    folder = self.folder / str(point.number) / Path(notebook).stem
                    ended = await run_notebook(
                        notebook, given, out=folder, run_id=run_id, progress=self._progress
                    )
                    usd_per_hour = self._usd_per_hour(run_id) or usd_per_hour
                    if ended.exit_code:
                        break
            undoing.pop_all()  # it came to an end, of which more is told
        await self._finish(point, ended, usd_per_hour)

    async def _finish(self, point: Point, ended: RunResult, usd_per_hour: Decimal | None) -> None:
        """End what it opened and write down what came of it, also where it cannot be ended: then
        nothing else is begun."""
        problem: ToolkitError | None = None
        try:
            await self._close(f"{self.result.matrix_id}-{point.number}")
        except ToolkitError as error:
            problem = error
        outcome = self._ended(point, ended, usd_per_hour)
        if problem is not None:
            why = f"{outcome.why}; it could not be closed: {problem.message}".lstrip("; ")
            outcome = msgspec.structs.replace(outcome, why=why)
        self._add(outcome)
        if problem is not None:
            raise problem

    def _name(self, point: Point) -> str:
        """Of this matrix alone: nothing that another one, or a person, opened is adopted."""
        return f"{point.name}-{self.result.matrix_id[-8:]}"

    def _given(
        self,
        point: Point,
        notebook: Path,
        parameters: dict[str, Any],
        left: Decimal | None,
        usd_per_hour: Decimal | None,
    ) -> dict[str, Any]:
        """What a notebook gets, with what is only known now, where it has room for that."""
        known: dict[str, Any] = {}
        if left is not None:
            most = parameters.get("max_usd_total")
            known["max_usd_total"] = float(left if most is None else min(left, Decimal(str(most))))
        if usd_per_hour is not None:
            known["usd_per_hour"] = float(usd_per_hour)
        declared = {one.name for one in read_parameters(notebook)}
        fixed = parameters.keys() - {"max_usd_total"}
        if "name" in parameters:
            parameters = parameters | {"name": self._name(point)}
        wanted = {key: each for key, each in known.items() if key in declared - fixed}
        return parameters | wanted

    @asynccontextmanager
    async def _watched(self, run_id: str) -> AsyncIterator[None]:
        """End what is past a limit of its own, as long as the block runs."""

        async def watch() -> None:
            while True:
                await asyncio.sleep(self._watch_s)
                for record in self._keeper.ledger.open_records(run_id=run_id):
                    try:
                        (seen,) = await self._keeper.status(record.name)
                        await end_if_over(self._keeper, record, seen)
                    except ToolkitError as error:
                        said = f"{record.name}: {error.message}"
                        self._progress(Update("watch", said, self._elapsed_s))

        watching = asyncio.create_task(watch())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _close(self, run_id: str) -> None:
        """End what this run, or every one of this matrix, has opened."""
        names = [
            record.name
            for record in self._keeper.ledger.open_records()
            if (record.run_id or "").startswith(run_id)
        ]
        await self._keeper.close_all(names)

    def _ended(self, point: Point, ended: RunResult, usd_per_hour: Decimal | None) -> Outcome:
        figures, exit_code = figures_of(ended.scraps), ended.exit_code or 0
        why = f"{ended.error.name}: {ended.error.message}" if ended.error else ""
        if not exit_code and figures is None and SCRAP in ended.scraps:
            exit_code, why = EndpointError.exit_code, "not one answer was measured"
        return self._outcome(
            point,
            "failed" if exit_code else "ok",
            why=why,
            exit_code=exit_code,
            usd_per_hour=usd_per_hour,
            figures=figures,
        )

    def _outcome(self, point: Point, status: Status, **known: Any) -> Outcome:
        return Outcome(
            number=point.number,
            name=self._name(point),
            choices=point.choices,
            status=status,
            spent_usd=self._spent_usd(f"{self.result.matrix_id}-{point.number}"),
            **known,
        )

    def _add(self, outcome: Outcome) -> None:
        self._note((*self.result.outcomes, outcome))
        text = outcome.why or (str(outcome.figures) if outcome.figures else "")
        self._progress(Update(f"{outcome.name} {outcome.status}", text, self._elapsed_s))

    def _note(self, outcomes: Sequence[Outcome]) -> None:
        """Write down what there is, in the order of the file."""
        ordered = tuple(sorted(outcomes, key=lambda one: one.number))
        spent = self._spent_usd(self.result.matrix_id)
        self.result = msgspec.structs.replace(self.result, outcomes=ordered, spent_usd=spent)
        document = clean_value(msgspec.to_builtins(self.result))
        write_whole(self.folder / MATRIX, as_json(document))

    def _left_usd(self) -> Decimal | None:
        budget = self._matrix.spec.budget_usd
        return None if budget is None else budget - self._spent_usd(self.result.matrix_id)

    def _spent_usd(self, run_id: str) -> Decimal:
        """By the books, over all attempts."""
        spends = [
            self._keeper.spend(record)
            for record in self._keeper.ledger.records()
            if record.run_id == run_id or (record.run_id or "").startswith(f"{run_id}-")
        ]
        return sum((spend.spent_usd for spend in spends if spend), Decimal(0))

    def _usd_per_hour(self, run_id: str) -> Decimal | None:
        for record in self._keeper.ledger.open_records(run_id=run_id):
            if spend := self._keeper.spend(record):
                return spend.usd_per_hour
        return None

    def _say(self, point: Point, what: str) -> None:
        chosen = ", ".join(f"{key}={value}" for key, value in point.choices.items())
        self._progress(Update(f"{point.name} {what}", chosen, self._elapsed_s))

    @property
    def _elapsed_s(self) -> float:
        return (datetime.now(UTC) - self._started).total_seconds()
