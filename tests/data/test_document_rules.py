"""Rules for single documents."""

import pytest
from omegaconf import OmegaConf

from llamalab.common.configs import repository_folder
from llamalab.common.errors import UserError
from llamalab.data.documents import Document
from llamalab.data.rules import documents as rules
from llamalab.data.source import DocumentRule


def applied(rule: DocumentRule, text: str) -> str | None:
    document = rule(Document("d", text, "s"))
    return None if document is None else document.text


def test_minimum_length() -> None:
    rule = rules.MinimumLength(characters=5)
    assert (applied(rule, "four"), applied(rule, "fives")) == (None, "fives")


def test_line_length() -> None:
    rule = rules.LineLength(longest=10, mean=5)
    assert applied(rule, "abc\nabcdefghij") is None  # mean 6.5
    assert applied(rule, "a\nabcdefghijk") is None  # a line of 11
    assert applied(rule, "a\nabcdefgh") == "a\nabcdefgh"


def test_alphanumeric_proportion() -> None:
    rule = rules.AlphanumericProportion(least=0.5)
    assert (applied(rule, "ab--"), applied(rule, "a---"), applied(rule, "")) == ("ab--", None, None)


@pytest.fixture
def header_rule() -> rules.RemoveHeader:
    """As conf/source/ has it."""
    source = OmegaConf.load(repository_folder("conf") / "source/django_code.yaml")
    options = OmegaConf.to_container(source.cleaning[0])
    assert isinstance(options, dict)
    return rules.RemoveHeader(header=options["header"], notice=options["notice"])


CODE = "import os\n\nprint(os)  # copyright notice in the code stays"


@pytest.mark.parametrize(
    "header",
    [
        "# Copyright (c) Someone\n# All rights reserved.\n",
        '"""\nA module. Licensed under the terms of BSD.\n"""\n',
        "#!/usr/bin/env python\n# SPDX-License-Identifier: MIT\n",
    ],
)
def test_licence_headers_go(header_rule: rules.RemoveHeader, header: str) -> None:
    assert applied(header_rule, header + CODE) == CODE


@pytest.mark.parametrize("header", ['"""What the module does."""\n', "# A plain comment.\n", ""])
def test_other_headers_stay(header_rule: rules.RemoveHeader, header: str) -> None:
    assert applied(header_rule, header + CODE) == header + CODE


def test_furniture_goes_by_pattern() -> None:
    assert applied(rules.RemoveLines([r"Page \d+", "Next"]), "Page 3\ntext of Page 3\n  Next") == "text of Page 3"
    assert applied(rules.RemoveText([r"\[edit\]"]), "A heading[edit]\ntext") == "A heading\ntext"
    with pytest.raises(UserError, match=r"'\(' is not a regular expression"):
        rules.RemoveLines(["("])
