"""What a run leaves on disk."""

import json
from pathlib import Path
from typing import Any

from toolkit import paths
from toolkit.automation.artefacts import clean_notebook

KEY = "ak-" + "k" * 43


def printed(text: str | list[str], name: str = "stdout") -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text}


def outputs_of(*outputs: dict[str, Any]) -> list[dict[str, Any]]:
    document = {"metadata": {}, "cells": [{"cell_type": "code", "outputs": list(outputs)}]}
    found: list[dict[str, Any]] = json.loads(clean_notebook(document))["cells"][0]["outputs"]
    return found


def test_a_streamed_answer_is_one_text() -> None:
    pieces = [printed("To"), printed([" run\n", "a"]), printed(" model")]
    assert outputs_of(*pieces) == [printed("To run\na model")]


def test_other_streams_and_outputs_stay_between() -> None:
    shown = {"output_type": "display_data", "data": {"text/plain": "x"}, "metadata": {}}
    given = [printed("a"), printed("b", "stderr"), printed("c"), shown, printed("d")]
    assert outputs_of(*given) == given


def test_a_secret_printed_in_pieces_is_found(akash_home: Path) -> None:
    key_file = paths.key_file("local")
    key_file.parent.mkdir(parents=True)
    key_file.write_text(KEY)
    [output] = outputs_of(printed("the key: " + KEY[:20]), printed(KEY[20:] + "\n"))
    assert KEY not in output["text"]
    assert output["text"].startswith("the key: ")


def test_widgets_are_left_out() -> None:
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "w"}
    [output] = outputs_of({"output_type": "display_data", "data": view, "metadata": {}})
    assert output["data"].keys() == {"text/plain"}
    assert "A panel" in output["data"]["text/plain"]
