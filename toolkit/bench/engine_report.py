"""The speeds of an engine as rows, for a table or a spreadsheet."""

from collections.abc import Sequence

from toolkit.bench.engine_speed import EngineResult


def lines(result: EngineResult) -> list[list[str]]:
    """Headings and a row per test, as llama-bench prints them."""
    subject = result.subject
    model = " ".join(filter(None, (subject.model, subject.parameter_size, subject.quantization)))
    table = [["model", "engine", "test", "tokens", "t/s"]]
    engine = " ".join(filter(None, (subject.engine, subject.server_version)))
    for one in result.speeds:
        rate = f"{one.mean:.2f} ± {one.std:.2f}"
        table.append([model, engine, one.test, str(one.tokens), rate])
    return table


def csv_lines(result: EngineResult) -> list[list[object]]:
    """The same with what a spreadsheet wants apart, and the raw samples."""
    subject = result.subject
    names = ["model", "model_digest", "quantization", "engine", "server_version", "hardware"]
    table: list[list[object]] = [[*names, "test", "tokens", "avg_ts", "stddev_ts", "samples_ts"]]
    facts: Sequence[object] = [getattr(subject, name) for name in names]
    for one in result.speeds:
        samples = " ".join(f"{sample:.4f}" for sample in one.samples)
        table.append([*facts, one.test, one.tokens, one.mean, one.std, samples])
    return table
