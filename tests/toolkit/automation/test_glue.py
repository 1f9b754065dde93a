"""Named values in and out of a notebook's outputs, in scrapbook's form."""

from collections.abc import Iterator
from typing import Any

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from toolkit.automation.glue import MIME, glue, read_scraps
from toolkit.errors import UsageError


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    shell = InteractiveShell.instance()
    yield shell
    InteractiveShell.clear_instance()


def test_what_is_glued_can_be_read(shell: InteractiveShell) -> None:
    with capture_output() as captured:
        glue("answer", {"tokens": 42})
        glue("answer", {"tokens": 43})
        glue("url", "http://127.0.0.1:1")
    outputs: list[dict[str, Any]] = [
        {"output_type": "display_data", "data": o.data, "metadata": o.metadata}
        for o in captured.outputs
    ]
    assert outputs[0]["data"][MIME] == {
        "name": "answer",
        "data": {"tokens": 42},
        "encoder": "json",
        "version": 1,
    }
    assert read_scraps([{"outputs": outputs}, {"cell_type": "markdown"}]) == {
        "answer": {"tokens": 43},
        "url": "http://127.0.0.1:1",
    }
    cell = {"cell_type": "code", "id": "0", "metadata": {}, "source": "", "execution_count": 1}
    notebook = {"cells": [{**cell, "outputs": outputs}], "metadata": {}}
    nbformat.validate({**notebook, "nbformat": 4, "nbformat_minor": 5})


def test_secrets_are_not_glued(shell: InteractiveShell) -> None:
    with capture_output() as captured, pytest.raises(UsageError, match="secret"):
        glue("key", ["ak-abcdefghijklmnop"])
    assert captured.outputs == []


def test_outside_of_a_notebook_it_does_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    glue("answer", 42)
    assert capsys.readouterr() == ("", "")
