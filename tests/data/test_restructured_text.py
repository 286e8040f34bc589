import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamalab.data.extraction.restructured_text import RestructuredText, plain, without_markup
from llamalab.data.source import Record

PAGE = """=====
Title
=====

.. _a-label:

.. module:: x.y
   :synopsis: A module.

A paragraph that is
wrapped, with :class:`~django.db.models.Model` and a `link
<https://example.org>`_.

.. versionadded:: 1.4

    The new thing.

* first item,
  which goes on
* second item

Code follows::

    def f(__x):
        return *x

.. code-block:: python
    :caption: ``file.py``

    print("``a``")

.. toctree::
   :maxdepth: 2

   one
   two

.. a comment
   of two lines

======  =====
Column  Other
======  =====

Last words.
"""

EXPECTED = """Title

A paragraph that is wrapped, with Model and a link.

New in version 1.4:

The new thing.

* first item, which goes on
* second item

Code follows:

    def f(__x):
        return *x

    print("``a``")

Column  Other

Last words."""


def test_a_page() -> None:
    (extract,) = RestructuredText()(Record("page.txt", PAGE.encode()))
    assert extract.text == EXPECTED


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see :ref:`the label <label>` and :meth:`.save`", "see the label and .save"),
        (":doc:`/topics/cache`", "/topics/cache"),
        (":func:`~a.b.c()`", "c()"),
        ("``HTTP_`` and ``*args``", "HTTP_ and *args"),
        ("**bold** and *italic* and 2*3*4", "bold and italic and 2*3*4"),
        ("a Reference_ here, snake_case too", "a Reference here, snake_case too"),
        (r"``'``:class:`A`\ ``'``", "'A'"),
        ("a note [1]_.", "a note ."),
        ("escaped \\*star\\*", "escaped *star*"),
    ],
)
def test_inline_markup(text: str, expected: str) -> None:
    assert without_markup(text) == expected


@given(st.text(alphabet="ab:.`*_\\ \n=-|[]", max_size=80))
@settings(max_examples=200, deadline=None)
def test_no_input_breaks_it(text: str) -> None:
    plain(text)
