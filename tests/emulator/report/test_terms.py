"""Words that pages explain: those of the glossary, each once in a text."""

import re
from pathlib import Path

from emulator.report.terms import TERMS, explain

DOCS = Path(__file__).parents[3] / "docs"


def test_each_word_means_what_the_glossary_says_and_names_a_page_that_is_there() -> None:
    rows = re.findall(r"^\| \*\*(.+?)\*\* \| (.+) \|$", (DOCS / "glossary.md").read_text(), re.MULTILINE)
    glossary = {word: meaning for words, meaning in rows for word in words.split(", ")}
    assert {term.word: term.meaning for term in TERMS} == {term.word: glossary[term.word] for term in TERMS}
    assert [term.page for term in TERMS if not (DOCS.parent / term.page).is_file()] == []


def test_the_first_mention_of_a_word_opens_its_meaning() -> None:
    def button(anchor: str, word: str) -> str:
        return f'<button type="button" class="term" popovertarget="term-{anchor}">{word}</button>'

    assert explain("Full pushes & PEEs: a PEE, no peel, <b>budgets</b>") == (
        f"{button('full-push', 'Full pushes')} &amp; {button('pee', 'PEEs')}: a PEE, no peel, "
        f"&lt;b&gt;{button('budget', 'budgets')}&lt;/b&gt;"
    )
