"""All notebooks, run in their order with what they declare, as web pages."""

from pathlib import Path

from toolkit.automation.artefacts import write_whole
from toolkit.automation.page import as_page, index_page
from toolkit.automation.params import list_notebooks, read_cells, title_of
from toolkit.automation.run import run_notebook
from toolkit.automation.run_folder import RunResult
from toolkit.deploy.base import Progress
from toolkit.deploy.keeper import Keeper


async def make_book(out: Path, *, progress: Progress | None = None) -> list[RunResult]:
    """Run each into a folder of its own in `out`, and make `NAME.html` and `index.html` there.

    It ends with the first that fails, which is the last of the results. What the runs opened,
    and later ones used, is closed at the end.
    """
    results, pages = list[RunResult](), list[tuple[str, str]]()
    try:
        for notebook in list_notebooks():
            results.append(
                await run_notebook(str(notebook), out=out / notebook.stem, progress=progress)
            )
            if results[-1].exit_code:
                break
            write_whole(out / f"{notebook.stem}.html", as_page(Path(results[-1].output)))
            pages.append((f"{notebook.stem}.html", title_of(read_cells(notebook))))
        write_whole(out / "index.html", index_page(pages))
    finally:
        await Keeper().close_runs(*(result.run_id for result in results))
    return results
