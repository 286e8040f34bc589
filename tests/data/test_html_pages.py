import pytest

from llamalab.data.extraction.html_pages import HtmlPages
from llamalab.data.source import Record

PARAGRAPH = "This paragraph says\nsomething worth reading about databases, and it goes on for a while. " * 3
PAGE = f"""<!doctype html><html><head><title>T</title><style>p {{color: red}}</style></head><body>
<nav><ul><li><a href="/">Home</a></li><li><a href="/docs">Documentation</a></li></ul></nav>
<header><div class="menu">Menu of the site</div></header>
<main><h1>Heading<a class="headerlink" href="#h">¶</a></h1>
<p>{PARAGRAPH}</p>
<pre><span class="k">def</span> <span class="n">f</span>(x):
    <span class="k">return</span> x</pre>
<dl><dt>
<em>method</em> name(a)</dt><dd><p>What the method
does.</p><pre>call(1)
call(2)</pre></dd></dl>
<p>{PARAGRAPH.replace("databases", "tables")}</p></main>
<footer><p>Copyright, imprint, all rights reserved by the site.</p></footer>
<script>track()</script></body></html>"""


@pytest.fixture(scope="module", params=[True, False], ids=["fallbacks", "fast"])
def text(request: pytest.FixtureRequest) -> str:
    extractor = HtmlPages(prune=['//a[contains(@class, "headerlink")]'], tables=True, fallbacks=request.param)
    (extract,) = extractor(Record("page.html", PAGE.encode()))
    assert extract.id == "page.html"
    return extract.text


@pytest.mark.parametrize("furniture", ["Home", "Documentation", "Menu of the site", "¶", "track()", "color: red"])
def test_furniture_goes(text: str, furniture: str) -> None:
    assert furniture not in text


def test_a_paragraph_is_a_line(text: str) -> None:
    lines = text.split("\n")
    assert "Heading" in lines
    assert " ".join(PARAGRAPH.split()) in lines
    assert "What the method does." in lines


def test_code_keeps_its_lines(text: str) -> None:
    assert "def f(x):\n    return x" in text
    assert "method name(a)" in text
    assert "call(1)\ncall(2)" in text


@pytest.mark.parametrize("data", [b"", b"   ", b"<html></html>", b"\x00\xff\xfe", b"<html><body></body></html>"])
def test_pages_without_text_give_nothing(data: bytes) -> None:
    assert HtmlPages(prune=[], tables=True, fallbacks=False)(Record("x", data)) == []
