"""Files of a result: their names, their figures, and what hostile text becomes in them."""

import ast
import csv
import io
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest
from packaging.requirements import Requirement

from tests.support.benching import level, record, result_of
from toolkit.bench import Result, page, parse, plots, report, save
from toolkit.bench.arrival import Load
from toolkit.bench.config import BenchConfig
from toolkit.bench.export import LIKES, Like, check, jsonl, table
from toolkit.bench.metrics import ALL
from toolkit.bench.records import Outcome, Phase
from toolkit.errors import ConfigError, UsageError

ROOT = Path(__file__).parents[3]
OURS = {"server", "toolkit"}  # one wheel
HOSTILE = "</title><script>alert(1)</script>|`=1+1`\x1b[2J‮<img src=//x>"


def result(**given: object) -> Result:
    config = BenchConfig(usd_per_hour=1.0, slos=(parse("ttft<=1s"),))
    levels = [
        level(
            *(record(n, due_s=0.9) for n in range(3)),
            record(3, outcome=Outcome.ERROR, error=HOSTILE),
            record(4, phase=Phase.WARMUP),
            load=Load(concurrency=count),
        )
        for count in (1, 2)
    ]
    made = result_of(*levels, config=config, **given)
    subject = msgspec.structs.replace(made.subject, model=HOSTILE, server_version=HOSTILE)
    return msgspec.structs.replace(made, subject=subject, warmup=(record(0, phase=Phase.WARMUP),))


def rows(like: Like) -> list[list[str]]:
    return list(csv.reader(io.StringIO(table(result(), like))))


def test_the_ending_says_how_it_is_written(tmp_path: Path) -> None:
    for ending in ("json", "jsonl", "csv", "md", "html"):
        path = tmp_path / f"result.{ending}"
        save(result(), path)
        assert path.stat().st_size > 500
    assert Result.load(tmp_path / "result.json") == result()
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [
        ".csv", ".html", ".json", ".jsonl", ".md",
    ]  # fmt: skip
    with pytest.raises(UsageError, match="no ending") as caught:
        save(result(), tmp_path / "result.txt")
    assert ".html" in caught.value.hint
    with pytest.raises(UsageError, match="no folder"):
        save(result(), tmp_path / "none" / "result.md")
    (tmp_path / "result.md.draft").write_text("somebody's")
    check(tmp_path / "result.md")
    assert (tmp_path / "result.md.draft").read_text() == "somebody's"
    with pytest.raises(ConfigError, match="cannot be written"):
        check(tmp_path / f"{'n' * 300}.md")
    (tmp_path / "folder.md").mkdir()
    with pytest.raises(ConfigError, match="cannot be written"):
        save(result(), tmp_path / "folder.md")


def test_json_is_versioned_and_holds_every_record_and_variant() -> None:
    whole = json.loads(result().to_json())
    assert whole["schema"] == 1 and len(whole["levels"][0]["records"]) == 5
    spreads = whole["summaries"][0]["spreads"]
    assert set(spreads) == {metric.tag for metric in ALL}
    ours = spreads["ttft_ms"]
    assert set(ours["percentiles"]) == {
        "1", "5", "25", "50", "75", "90", "95", "99", "99.9",
    }  # fmt: skip
    assert set(ours["ci"]) == {"50", "99"} and ours["n"] == 3


def test_jsonl_has_a_line_per_request() -> None:
    lines = [json.loads(line) for line in jsonl(result()).splitlines()]
    assert len(lines) == 11
    assert [line["level"] for line in lines[:2]] == ["before all", "1 open"]
    assert [line.get("phase", "measured") for line in lines[:2]] == ["warmup", "measured"]
    assert lines[4]["outcome"] == "error" and lines[1]["text_s"] == [1.2, 1.3, 1.5]


def test_our_csv_has_every_figure_under_its_own_name() -> None:
    names, first, second = rows("ours")
    cells = dict(zip(names, first, strict=True))
    assert {"model_digest", "quantization", "context", "slots", "hardware", "provider"} <= {*names}
    assert (cells["seed"], cells["usd_per_hour"], cells["api"]) == ("1", "1.0", "ollama")
    assert (cells["concurrency"], second[names.index("concurrency")]) == ("1", "2")
    assert float(cells["ttft_ms_p99"]) == pytest.approx(200)
    assert float(cells["vllm_tpot_ms_p50"]) == pytest.approx(200)
    assert cells["ttft_ms_n"] == "3" and "ttft_ms_p99_high" in cells
    assert float(cells["slo ttft_ms:p99<=1000"]) == pytest.approx(200)
    assert cells["errors"] == "1" and float(cells["usd_per_million_tokens"]) > 0
    assert len(names) == len(set(names))


def test_vllms_names_have_vllms_formulas() -> None:
    names, first, _ = rows("vllm")
    cells = dict(zip(names, first, strict=True))
    assert float(cells["median_ttft_ms"]) == pytest.approx(150)
    assert float(cells["p99_tpot_ms"]) == pytest.approx(200)
    assert float(cells["mean_itl_ms"]) == pytest.approx(100)
    assert float(cells["median_e2el_ms"]) == pytest.approx(550)
    assert (cells["completed"], cells["failed"], cells["request_rate"]) == ("3", "1", "inf")
    assert cells["total_output_tokens"] == "9" and cells["max_concurrency"] == "1"


def test_guidellms_columns_have_three_headings() -> None:
    groups, names, units, first, second = rows("guidellm")
    heads = list(zip(groups, names, units, strict=True))
    at = heads.index(("Time to First Token", "Successful ms", "Median"))
    assert float(first[at]) == pytest.approx(200) == float(second[at])
    at = heads.index(("Time per Output Token", "Successful ms", "Mean"))
    assert float(first[at]) == pytest.approx(500 / 3)
    at = heads.index(("Request Latency", "Successful Sec", "Percentiles"))
    assert json.loads(first[at]) == pytest.approx([0.6] * 11)
    counts = [first[heads.index(("Request Counts", name, ""))] for name in ("Successful", "Total")]
    assert counts == ["3", "4"]


def test_aiperfs_tables_have_its_names() -> None:
    found = rows("aiperf")
    assert found[0] == ["Level", "1 open"]
    assert found[1] == ["Metric", "avg", "min", "max", "p99", "p95", "p90", "p75", "p50", "std"]
    cells = {row[0]: row[1:] for row in found[2:16] if row}
    assert cells["Time to First Token (ms)"][0] == "150.0"
    assert cells["Inter Token Latency (ms)"][0] == "225.0"
    assert cells["Time to Second Token (ms)"][0] == "100.0"
    assert cells["Request Count"] == ["3"]


@pytest.mark.parametrize("like", LIKES)
def test_no_cell_is_a_formula_of_a_spreadsheet(like: Like) -> None:
    made = result()
    for name in ("=1+1", "@x", "+x", "-x"):
        subject = msgspec.structs.replace(made.subject, model=name)
        text = table(msgspec.structs.replace(made, subject=subject), like)
        assert not any(cell == name for row in csv.reader(io.StringIO(text)) for cell in row)


def test_markdown_says_all_of_it_and_hostile_text_stays_text() -> None:
    text = report.markdown(result())
    for part in ("(tN - t1) / (n - 1)", "| USD per 1M |", "| goodput/s |", "95 % of p99"):
        assert part in text
    head = text.split("\n\n")[0]
    assert "<script>" not in text.replace("`", "") and "&lt;script&gt;" in head
    assert "\x1b" not in text and "‮" not in text


@pytest.mark.goal(3, 6)
def test_a_page_is_one_file_without_scripts_and_addresses() -> None:
    text = page(result())
    assert text.count("<svg") == 5 and text.count('role="img"') == 5
    assert "<script" not in text and "<img" not in text and "&lt;script&gt;" in text
    assert "default-src 'none'" in text
    # Names of XML, which nothing fetches, are all the addresses that there are.
    addresses = {part.split('"')[0].split("<")[0] for part in text.split("http://")[1:]}
    assert addresses <= {"www.w3.org/2000/svg", "www.w3.org/1999/xlink", "127.0.0.1:1: closed loop,"
                         " 128-word prompts, 64 output tokens, seed 1, workload "
                         + result().workload_digest}  # fmt: skip
    assert "https://" not in text
    for formula in (
        "(tN - t1) / (n - 1)",
        "No level meets ttft_ms:p99&lt;=1000: 1 open has 1 errors",
    ):
        assert formula in text


@pytest.mark.goal(6)
def test_reports_print_their_formulas_and_the_pictures_are_plain_svg() -> None:
    made = result()
    for text in (report.terminal(made), report.markdown(made)):
        assert "(tN - t1) / (n - 1)" in text and "USD per 1M" in text and "p50" in text
    charts = [plots.throughput_and_latency(made), *(one.svg for one in plots.charts(made))]
    for svg in charts:
        assert svg.startswith('<svg role="img" aria-label="')
        assert "<script" not in svg and "<style>.akl-plot svg *{" in svg and "#010203" not in svg


def test_a_result_without_an_answer_has_its_page_and_tables() -> None:
    empty = result_of(level(record(outcome=Outcome.ERROR, text_s=())))
    assert "No answer was measured" in page(empty)
    for like in LIKES:
        assert table(empty, like)
    assert "No answer" in page(result_of())


@pytest.mark.goal(6)
def test_measuring_and_drawing_need_one_package_beyond_the_base() -> None:
    base = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    code = [*(ROOT / "toolkit" / "bench").glob("*.py"), ROOT / "toolkit" / "svg.py"]
    trees = [ast.parse(path.read_text()) for path in code]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    named = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    named |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    modules = {name.partition(".")[0] for name in named} - sys.stdlib_module_names - OURS
    assert modules - {Requirement(text).name for text in base} == {"matplotlib"}


def test_a_broken_matplotlib_is_said_in_our_words(tmp_path: Path) -> None:
    (tmp_path / "matplotlib").mkdir()
    (tmp_path / "matplotlib" / "__init__.py").write_text("raise ImportError('no such library')")
    code = (
        "from toolkit import svg\nfrom toolkit.errors import ConfigError\n"
        "try: svg.picture((1, 1), print, '')\n"
        "except ConfigError as error: print(error.message)"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert "does not work here: no such library" in done.stdout, done.stderr
