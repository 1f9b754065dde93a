"""Files of a matrix: what they mean, and what is wrong with them, before anything runs."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import nbformat
import pytest
import yaml

from toolkit.automation.figures import Figures
from toolkit.automation.matrix import Matrix, Spec, read_matrix
from toolkit.automation.matrix_report import markdown, preview, sentences
from toolkit.automation.matrix_result import MatrixResult, Outcome
from toolkit.errors import UsageError

RENTED = {"target": "console", "max_usd_per_hour": 0.4, "runtime_hours": 1.5}
FIGURES = Figures(
    load="4 open",
    output_tokens_per_s=100.0,
    requests_per_s=2.0,
    ttft_p50_ms=50.0,
    ttft_p99_ms=90.0,
    tpot_p50_ms=10.0,
    usd_per_million_tokens=1.5,
    error_rate=0.0,
    workload="w",
)


def read(folder: Path, document: Any, name: str = "Two models.yaml") -> Matrix:
    path = folder / name
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    return read_matrix(path)


def test_every_combination_but_those_left_out(tmp_path: Path) -> None:
    matrix = read(
        tmp_path,
        {
            "matrix": {"model": ["a", "b"], "parallel": [1, 2]},
            "exclude": [{"model": "b", "parallel": 2}],
            "parameters": {"concurrency": [1, 2]},
        },
    )
    assert [point.choices for point in matrix.points] == [
        {"model": "a", "parallel": 1},
        {"model": "a", "parallel": 2},
        {"model": "b", "parallel": 1},
    ]
    assert [point.name for point in matrix.points] == [f"two-models-{n}" for n in (1, 2, 3)]
    (deploy, opens), (benchmark, measures) = matrix.points[1].parameters
    assert Path(deploy).stem == "04_deploy" and Path(benchmark).stem == "06_benchmark"
    assert opens == {"model": "a", "parallel": 2, "name": "two-models-2", "keep": True}
    assert measures == {"model": "a", "name": "two-models-2", "concurrency": [1, 2]}
    assert all(point.worst_usd == 0 for point in matrix.points)


def test_what_is_rented_has_a_worst_case(tmp_path: Path) -> None:
    matrix = read(
        tmp_path,
        {
            "matrix": {"max_usd_per_hour": [0.4, 0.25]},
            "parameters": {"target": "console", "runtime_hours": 1.5},
            "budget_usd": 1,
        },
    )
    # Whole hours, since that is how the Console ends it.
    assert [point.worst_usd for point in matrix.points] == [Decimal("0.8"), Decimal("0.5")]
    said = preview(matrix)
    assert "2 combinations, $1.30 at most, of which $1.00 may be spent" in said


def test_what_a_notebook_rents_by_itself_is_not_free(tmp_path: Path) -> None:
    node: Any = nbformat.v4
    cell = node.new_code_cell(
        'model: str = "a"  # what\nname: str = ""  # which\ntarget: str = "console"  # where\n'
        "max_usd_per_hour: float = 5.0  # at most\nruntime_hours: float = 24.0  # so long",
        metadata={"tags": ["parameters"]},
    )
    nbformat.write(node.new_notebook(cells=[cell]), tmp_path / "rents.ipynb")
    document = {"notebooks": [str(tmp_path / "rents.ipynb")], "matrix": {"model": ["a"]}}
    with pytest.raises(UsageError, match="needs a budget"):
        read(tmp_path, document)
    (point,) = read(tmp_path, {**document, "budget_usd": 200}).points
    assert point.worst_usd == 120


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("a: [", "cannot be read"),
        ("[1]", "Expected `object`"),
        ({}, "missing required field `matrix`"),
        ({"matrix": {}}, "matrix"),
        ({"matrix": {"model": []}}, "matrix"),
        ({"matrix": {"model": "a"}}, "Expected `array`"),
        ({"matrix": {"model": ["a"]}, "budget": 1}, "unknown field `budget`"),
        ({"matrix": {"modle": ["a"]}}, "has a parameter 'modle'"),
        ({"matrix": {"model": ["a"]}, "parameters": {"wight": 1}}, "has a parameter 'wight'"),
        ({"matrix": {"model": ["a"]}, "parameters": {"model": "b"}}, "in the matrix and in"),
        ({"matrix": {"model": ["a"]}, "exclude": [{"engine": "vllm"}]}, "exclude names engine"),
        ({"matrix": {"model": ["a"]}, "exclude": [{"model": "a"}]}, "has 0 combinations"),
        ({"matrix": {"seed": list(range(501))}, "notebooks": ["06_benchmark"]}, "501 comb"),
        ({"matrix": {"name": ["a", "b"]}}, "'name' is not for the file to say"),
        ({"matrix": {"model": ["a"]}, "parameters": {"keep": False}}, "'keep' is not"),
        ({"matrix": {"model": ["a"]}, "parameters": {"replace": True}}, "'replace' is not"),
        (
            {"matrix": {"model": ["a"]}, "parameters": RENTED, "budget_usd": float("inf")},
            "have an end",
        ),
        (
            {
                "matrix": {"max_usd_per_hour": [float("nan")]},
                "parameters": {"target": "console", "runtime_hours": 1},
                "budget_usd": 1,
            },
            "have an end",
        ),
        ({"matrix": {"parallel": ["many"]}}, "'parallel' must be int"),
        ({"matrix": {"model": ["a"]}, "notebooks": ["04_deplyo"]}, "no notebook '04_deplyo'"),
        ({"matrix": {"model": ["a"]}, "parameters": RENTED}, "needs a budget"),
        ({"matrix": {"model": ["a"]}, "parameters": RENTED, "budget_usd": 0.79}, "pays for none"),
        ({"matrix": {"model": ["a"]}, "parameters": RENTED, "budget_usd": -1}, "more than"),
        (
            {"matrix": {"model": ["a"]}, "parameters": {"target": "console"}, "budget_usd": 1},
            "limits that hold by themselves",
        ),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(
    tmp_path: Path, akash_home: Path, document: Any, says: str
) -> None:
    if isinstance(document, dict) and "seed" in document.get("matrix", {}):
        document = {**document, "matrix": {"output_tokens": document["matrix"]["seed"]}}
    with pytest.raises(UsageError) as caught:
        read(tmp_path, document)
    assert says in caught.value.message
    assert not akash_home.exists()


def test_a_parameter_that_is_misspelt_gets_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, {"matrix": {"modle": ["a"]}})
    assert "model" in caught.value.hint


def outcome(number: int, **known: Any) -> Outcome:
    return Outcome(
        **{
            "number": number,
            "name": f"m-{number}",
            "choices": {"model": f"model-{number}"},
            "status": "ok",
            "figures": FIGURES,
            **known,
        }
    )


def result(*outcomes: Outcome) -> MatrixResult:
    spec = Spec(matrix={"model": ["a", "b"]}, budget_usd=Decimal(2))
    now = datetime.now(UTC)
    return MatrixResult(
        matrix_id="x", spec=spec, started_at=now, outcomes=outcomes, spent_usd=Decimal("0.5")
    )


def test_the_best_are_named_each_for_what_it_is_best_at() -> None:
    quick = Figures(
        **{
            **{f: getattr(FIGURES, f) for f in FIGURES.__struct_fields__},
            "output_tokens_per_s": 200.0,
            "usd_per_million_tokens": 3.0,
            "ttft_p50_ms": 70.0,
        }
    )
    said = sentences(result(outcome(1), outcome(2, figures=quick)))
    assert said[0].startswith("Fastest: model model-2 (200 tok/s at 4 open, 3.00 USD per million")
    assert said[1].startswith("Cheapest: model model-1 ")
    assert said[2].startswith("First token soonest: model model-1 ")
    assert said[-1] == "Spent $0.50 of $2.00."


def test_what_failed_often_is_not_the_best() -> None:
    failing = msgspec.structs.replace(FIGURES, error_rate=0.6, output_tokens_per_s=900.0)
    said = sentences(result(outcome(1), outcome(2, figures=failing)))
    assert said[0].startswith("Fastest: model model-1 ")
    assert "| 60.0 |" in markdown(result(outcome(1, figures=failing)))


def test_what_was_not_measured_is_said() -> None:
    other = Figures(
        **{**{f: getattr(FIGURES, f) for f in FIGURES.__struct_fields__}, "workload": "other"}
    )
    found = result(
        outcome(1),
        outcome(2, figures=other),
        outcome(3, status="failed", figures=None, exit_code=7, why="EndpointError: it is away"),
        outcome(4, status="skipped", figures=None, why="it may cost $1"),
    )
    said = " ".join(sentences(found))
    assert "were not asked the same" in said
    assert "Failed: 3." in said and "budget might not have paid for it: 4." in said
    assert found.exit_code == 7
    assert result(outcome(1), outcome(2, status="skipped")).exit_code == 9
    assert result(outcome(1)).exit_code == 0


def test_hostile_text_stays_text() -> None:
    why = "x | y\n<script>alert(1)</script> ![a](http://evil.example/) \x1b[31m"
    page = markdown(result(outcome(1, status="failed", why=why, exit_code=1)))
    (row,) = [line for line in page.splitlines() if "script" in line]
    assert "\\<script\\>" in row and "!\\[a\\](" in row and "x \\| y" in row and "\x1b" not in row
