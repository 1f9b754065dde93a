"""Reports and differences as a notebook shows them: place, path, what is wrong, what to do."""

from toolkit import sdl

KEYS = f"owner:admin:{'a' * 64}"


def rendered(model: str = "smollm2:135m", cpu: int = 2) -> str:
    image = "example.org/you/akash-llm-server:1.0.0"
    return sdl.render(sdl.RenderInputs(image=image, model=model, cpu=cpu, keys_text=KEYS))


def test_a_report_names_place_path_and_remedy() -> None:
    report = sdl.validate(rendered().replace("port: 11434", "port: 114340"), "a.yaml")
    (problem,) = report.problems
    text, html = str(report), report._repr_html_()
    assert text.startswith("a.yaml: not ok, 1 problem\n")
    assert f"a.yaml:{problem.line}:" in text and problem.path in text and problem.hint in text
    assert f"line {problem.line}" in html and "what to do" in html and "scope='col'" in html


def test_a_good_report_is_one_line() -> None:
    report = sdl.validate(rendered(), "a.yaml")
    assert str(report) == "a.yaml: ok, no problem"
    assert report._repr_html_() == "<p>a.yaml: ok, no problem</p>"


def test_a_message_is_only_text() -> None:
    report = sdl.validate("version: '<b>\\x1b[2J'\n", "<i>.yaml")
    assert "<b>" not in report._repr_html_() and "<i>" not in report._repr_html_()


def test_a_difference_says_what_it_takes() -> None:
    before = sdl.parse(rendered()).sdl
    same = sdl.diff(before, before)
    other = sdl.diff(before, sdl.parse(rendered(cpu=4)).sdl)
    assert str(same) == "the same deployment, nothing to do"
    assert "needs a new lease" in str(other) and "new-lease" in other._repr_html_()
