"""Other people's HTML, as HTML that can only be read; see `tests/browser/test_pages.py`, too."""

import pytest

from toolkit.automation.inert import inert


@pytest.mark.parametrize(
    "address",
    [
        "data:text/html,<b>",
        "&#100;ata:text/html,a",
        "&#x64;ata&colon;text/html,a",
        "da&#9;ta:text/html,a",
        "da\nta:text/html,a",
        "&#1;data:text/html,a",
        " JavaScript:a",
        "javascript&#58;a",
        "file:///etc/passwd",
        "vbscript:a",
    ],
)
@pytest.mark.parametrize("drawn", ["", "<svg>"])
def test_a_link_goes_to_the_web_or_by_mail_or_is_none(address: str, drawn: str) -> None:
    assert inert(f"{drawn}<a href='{address}'>a</a>").startswith(f"{drawn}<a>a</a>")
    assert inert(f"{drawn}<a xlink:href='{address}'>a</a>").startswith(f"{drawn}<a>a</a>")


@pytest.mark.parametrize(
    "address", ["https://a.example/?b=1&amp;lt;=2", "MAILTO:a@a.example", "#a", "b/c:d", "&#35;a"]
)
def test_other_links_stay(address: str) -> None:
    assert inert(f'<a href="{address}">a</a>') == (
        f'<a href="{address.replace("&#35;", "#")}">a</a>'
    )


def test_only_pictures_may_be_within() -> None:
    assert inert('<img src="&#100;ata:image/png;base64,AA">') == (
        '<img src="data:image/png;base64,AA">'
    )
    for address in ("data:text/html,a", "https://a.example/a.png", "&#104;ttp://a.example/"):
        assert inert(f'<img src="{address}">') == "<img>"


@pytest.mark.parametrize(
    "value",
    [
        "url(http://a.example/)",
        "url&#40;http://a.example/)",
        "url&lpar;'//a.example/'&rpar;",
        r"u\72l(http://a.example/)",
        r"&#92;75rl(http://a.example/)",
        "image-set('http://a.example/' 1x)",
    ],
)
def test_a_drawing_refers_to_nothing_elsewhere(value: str) -> None:
    drawn = inert(f'<svg><path fill="{value}" d="M 0 0"/><path style="fill: {value}"/></svg>')
    assert drawn == '<svg><path d="M 0 0"></path><path></path></svg>'


@pytest.mark.parametrize(
    "style",
    [
        "color: &quot;&quot;;position:fixed",
        "color: red&#59;position:fixed",
        "color: red&semi;position:fixed",
        "cursor: image-set('http://a.example/' 1x)",
    ],
)
def test_a_style_is_read_as_the_browser_reads_it(style: str) -> None:
    written = inert(f'<p style="{style}">a</p>')
    assert "cursor" not in written and "position" not in written


def test_a_string_in_a_style_stays_one() -> None:
    html = """<p style='color: "&amp;quot;;position:fixed;&amp;quot;";'>a</p>"""
    assert inert(html) == html


def test_text_is_the_same_text() -> None:
    assert inert("a &amp;lt; b &lt;i&gt; 1 < 2 &copy;\x01") == "a &amp;lt; b &lt;i&gt; 1 &lt; 2 ©?"
    assert inert("a<!-- b -->c<br>d<p>e") == "ac<br>d<p>e</p>"
    assert (
        inert('<p title="url(http://a) \\ &quot;">a</p>') == "<p title='url(http://a) \\ \"'>a</p>"
    )


def test_what_is_harmless_stays() -> None:
    for html in (
        '<p hidden="">a</p>',
        '<svg viewBox="0 0 9 9"><title>A name</title><desc>More of it</desc><defs>'
        '<linearGradient id="a" x1="0"><stop offset="1" stop-color="red" stop-opacity=".5"></stop>'
        '</linearGradient><radialGradient fx="1" href="#a"></radialGradient></defs>'
        '<rect fill="url(#a)" fill-opacity=".5" stroke-opacity=".5" stroke-dasharray="1 2"></rect>'
        '<text dominant-baseline="middle" font-size="9" font-family="serif">a</text></svg>',
    ):
        assert inert(html) == html
    assert inert("<title>a</title><svg><title><title>b</title>c<b>d") == (
        "<svg><title>c<b>d</b></title></svg>"
    )
    elsewhere = '<svg><radialGradient href="http://a.example/#a"></radialGradient></svg>'
    assert inert(elsewhere) == "<svg><radialGradient></radialGradient></svg>"


def test_the_boxes_of_tasks_are_signs() -> None:
    box = '<input class="task-list-item-checkbox" type="checkbox" disabled'
    assert inert(f'{box}/>a{box} checked/>b<input name="c">') == "\u2610 a\u2611 b"


@pytest.mark.parametrize(
    "html",
    [
        "<p>a" * 400_000,
        "<b>" * 40_000,
        "<" * 900_000,
        f"<b {' '.join(f'a{at}' for at in range(100_000))}>",
        "".join(f"<b id={at}>" for at in range(190)) + "<p>" * 100_000,
        f"&#{'1' * 5_000};",
    ],
    ids=["long", "deep", "signs", "attributes", "formats", "digits"],
)
def test_what_would_take_long_is_shown_as_text(html: str) -> None:
    written = inert(f"{html}<script>")
    assert written.startswith("<p>Too long, or nested too deeply") and written.endswith("</pre>")
    assert "&lt;script&gt;" in written and "<script" not in written and "<b" not in written


def test_a_long_table_and_a_large_picture_are_shown() -> None:
    rows = "<tr><td>1</td><td>2</td></tr>" * 20_000
    table = f"<table><tbody>{rows}</tbody></table>"
    assert inert(table) == table
    picture = f'<img src="data:image/png;base64,{"A" * 2_000_000}">'
    assert inert(picture) == picture
