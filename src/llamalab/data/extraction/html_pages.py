"""Web pages to text with trafilatura, which finds the main content and leaves menus, headers and footers out."""

import re
from typing import Any

from llamalab.data.source import Extract, Record
from llamalab.data.text import decode, tidy

PREFORMATTED = {"pre", "textarea"}
BLOCKS = {"p", "div", "dt", "dd", "li", "td", "th"}


def collapse_whitespace(element: Any) -> None:
    """Makes line breaks of the HTML source spaces outside preformatted elements, as a browser shows them."""
    if element.tag in PREFORMATTED:
        return
    if element.text:
        element.text = re.sub(r"\s+", " ", element.text)
        if element.tag in BLOCKS:
            element.text = element.text.lstrip()
    for child in element:
        collapse_whitespace(child)
        if child.tail:
            child.tail = re.sub(r"\s+", " ", child.tail)


def flatten(tree: Any) -> None:
    """Undoes markup that trafilatura would turn into broken text.

    Definition lists become divisions and paragraphs, since it puts a list item into one line, code and all; colours
    in preformatted text go, which only cost time.
    """
    from lxml import etree

    for element in tree.iter("pre"):
        etree.strip_tags(element, "*")
    for element in tree.iter("dl", "dd"):
        element.tag = "div"
    for element in tree.iter("dt"):
        element.tag = "p"


class HtmlPages:
    """The main text of an HTML page.

    Args:
        prune: XPath expressions of elements to remove before the extraction.
        tables: keep the text of tables.
        fallbacks: where trafilatura's own result looks poor, try its two other algorithms too; slower.
    """

    def __init__(self, prune: list[str], tables: bool, fallbacks: bool) -> None:
        self.prune, self.tables, self.fallbacks = prune, tables, fallbacks

    def __call__(self, record: Record) -> list[Extract]:
        # Imported here: it takes half a second, which the other stages need not pay.
        import trafilatura

        tree = trafilatura.load_html(decode(record.data))
        if tree is None:
            return []
        for expression in self.prune:
            for element in tree.xpath(expression):
                element.drop_tree()
        collapse_whitespace(tree)
        flatten(tree)
        text = trafilatura.extract(
            tree, include_comments=False, include_tables=self.tables, deduplicate=False, fast=not self.fallbacks
        )
        return [Extract(record.name, tidy(text), {})] if text else []
