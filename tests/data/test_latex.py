r"""Cleaning of LaTeX as the paper describes it (section 2.1, ArXiv)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamalab.data.extraction.latex import Latex, clean, expand, strip_comments, take_definitions
from llamalab.data.source import Record

PAPER = r"""\documentclass{article}
\usepackage{amsmath} % a comment
\newcommand{\R}{\mathbb{R}}
\newcommand{\norm}[1]{\left\| #1 \right\|}
\newcommand{\pair}[2][0]{(#1, #2)}
\def\eg{e.g.}
\def\swap#1#2{#2#1}
\DeclareMathOperator{\argmax}{arg\,max}
\title{A title}
\begin{document}
\maketitle
\begin{abstract}
The abstract goes, as everything before the first section.
\end{abstract}
% \section{Not a section}
\section{Introduction}\label{sec:intro}
Let $x \in \R^n$ with $\norm{x + \norm{y}} < 1$, \eg{} 50\% of it. % gone
Pairs \pair{1} and \pair[2]{1}; \swap{a}{b}; $\argmax_x$.
\begin{verbatim}
% stays, as \R does
\end{verbatim}
and \verb|% this| too.
\begin{comment}
A long comment.
\end{comment}
\section{Proof}
Done.\cite{someone}
\bibliographystyle{plain}
\bibliography{refs}
\begin{thebibliography}{9}
\bibitem{someone} Someone, Some paper.
\end{thebibliography}
\appendix
\section{More}
An appendix.
\end{document}
Behind the end.
"""

CLEANED = r"""\section{Introduction}\label{sec:intro}
Let $x \in \mathbb{R}^n$ with $\left\| x + \left\| y \right\| \right\| < 1$, e.g.{} 50\% of it. Pairs (0, 1) and (2, 1); ba; $\operatorname{arg\,max}_x$.
\begin{verbatim}
% stays, as \R does
\end{verbatim}
and \verb|% this| too.

\section{Proof}
Done.\cite{someone}

\appendix
\section{More}
An appendix."""  # noqa: E501


def test_a_paper() -> None:
    assert clean(PAPER) == CLEANED


def test_a_file_without_a_section_holds_no_text() -> None:
    assert Latex()(Record("macros.tex", rb"\newcommand{\a}{b} \section")) == []


def test_a_chapter_of_a_book_needs_no_preamble() -> None:
    text = "\\chapter[short]{Long}\nText."
    assert Latex()(Record("c.tex", text.encode()))[0].text == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a % b\nc", "a c"),  # TeX joins the lines
        ("affine-%\n    invariant", "affine-invariant"),
        ("a % b\n\nc", "a \n\nc"),  # an empty line still ends the paragraph
        ("% only\nc", "c"),
        (r"100\% sure % no", r"100\% sure "),
        (r"new line \\% comment", r"new line \\"),
        (r"a \iffalse hidden \fi b", "a  b"),
        ("a\\begin{comment}\nb\n\\end{comment}c", "ac"),
    ],
)
def test_comments(text: str, expected: str) -> None:
    assert strip_comments(text)[0] == expected


@pytest.mark.parametrize(
    ("definitions", "text", "expected"),
    [
        (r"\newcommand{\a}{x}", r"\a \ab", r"x \ab"),  # whole names only
        (r"\newcommand\a{x}", r"\a", "x"),
        (r"\newcommand*{\a}[1]{<#1>}", r"\a{{n}est}", "<{n}est>"),
        (r"\newcommand{\a}[1]{<#1>}", r"\a b", "<b>"),  # one token is an argument too
        (r"\newcommand{\a}[1]{<#1>}", r"\a\beta", r"<\beta>"),
        (r"\newcommand{\a}{x}\renewcommand{\a}{y}", r"\a", "y"),
        (r"\newcommand{\a}{\b}\newcommand{\b}{z}", r"\a", "z"),
        (r"\gdef\a#1{[#1]}", r"\a{\a{q}}", "[[q]]"),
        (r"\newcommand{\a}{x}", r"one\\a two", r"one\\a two"),  # a line break and the letter a
        (r"\newcommand{\a}[1]{\alpha}", r"\a{1}b", r"\alpha b"),
        (r"\newcommand{\a}[2]{#1#2}", r"\a{only", r"\a{only"),  # arguments missing: left as it is
        (r"\newcommand{\a}{\{x\}}", r"\a", r"\{x\}"),
    ],
)
def test_macros(definitions: str, text: str, expected: str) -> None:
    rest, macros = take_definitions(definitions + text)
    assert rest == text
    assert expand(text, macros) == expected


def test_macros_that_call_themselves_end() -> None:
    _, macros = take_definitions(r"\def\a{x\a}\def\b{\b\b}")
    assert expand(r"\a", macros).startswith("xxx")
    assert len(expand(r"\b" * 10, macros)) < 10**6


@given(st.text(alphabet="\\{}%#[]abdefn1 \n$", max_size=60))
@settings(max_examples=300, deadline=None)
def test_no_input_breaks_it(text: str) -> None:
    clean(r"\newcommand{\a}[1]{#1}\section{x}" + text)
