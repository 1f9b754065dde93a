"""05_chat run by papermill: it proves that the endpoint answers, and leaves nothing behind."""

from pathlib import Path

import pytest

from tests.support.endpoint import MODEL, Answer, ScriptedEndpoint, words
from toolkit.automation.run import run_notebook


@pytest.fixture(autouse=True)
def caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that a kernel of papermill runs in: that of who called it."""
    folder = tmp_path / "caller"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.goal(8)
async def test_it_answers_and_litters_nothing(caller: Path) -> None:
    async with ScriptedEndpoint(lambda _: words("Hello there.")) as server:
        result = await run_notebook("05_chat", {"url": server.url, "model": MODEL})
        assert (result.status, result.exit_code) == ("ok", 0)
        assert result.scraps["stats"]["output_tokens"] == 2
        assert list(caller.iterdir()) == []
        named = {"url": server.url, "model": MODEL, "conversation": "Every night"}
        assert (await run_notebook("05_chat", named)).exit_code == 0
    assert len(list(caller.glob("conversations/*.json"))) == 1


@pytest.mark.goal(8)
async def test_an_endpoint_that_refuses_is_exit_code_7() -> None:
    async with ScriptedEndpoint(lambda _: Answer(status=503, error="busy")) as server:
        result = await run_notebook("05_chat", {"url": server.url, "model": MODEL})
    assert result.exit_code == 7 and result.error is not None
    assert "busy" in result.error.message
