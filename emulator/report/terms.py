"""Words of the field, explained where they stand in a page: those of docs/glossary.md."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup, escape


@dataclass(frozen=True)
class Term:
    """A word, and what it means."""

    word: str
    meaning: str
    page: str
    """The page of the documentation that says more."""
    pattern: str = ""
    """Forms of the word in a text, as a regular expression; empty: the word and its plural."""

    @property
    def anchor(self) -> str:
        """The anchor of its explanation."""
        return f"term-{re.sub('[^a-z0-9]+', '-', self.word.lower()).strip('-')}"


TERMS: Final = (
    Term(
        "block",
        "a piece of an item table: one group of items, one slice of the dimensions, and, where numbers are "
        "stored in planes, one plane of bits. The unit of weight, selection and transfer",
        "docs/method.md",
    ),
    Term("budget", "the bytes that a device may use for item embeddings at this moment", "docs/method.md"),
    Term("delta", "an update with only those blocks that a device lacks", "docs/traffic.md"),
    Term(
        "eviction",
        "the removal of blocks by a device whose budget has shrunk",
        "docs/method.md",
        "evictions?|evicts?",
    ),
    Term("fault", "a disturbance that a scenario plans: an outage, loss, damage, delay", "docs/scenario.md"),
    Term(
        "full push",
        "an update with the whole PEE: what a delta is compared with",
        "docs/traffic.md",
        "full push(?:es)?",
    ),
    Term("layer", "one of the sizes of table (64 by default) among which a budget chooses", "docs/method.md"),
    Term(
        "NDCG@10",
        "measures of the ten or twenty best recommended items against what the user did later",
        "docs/metrics.md",
        "NDCG@10",
    ),
    Term(
        "PEE", "personalized elastic embedding: the blocks that a device holds for its user", "docs/method.md"
    ),
    Term(
        "regret",
        "the quality that the best PEE for the budget would give, less the quality of the PEE that is held",
        "docs/metrics.md",
    ),
    Term(
        "rollout",
        "the introduction of a new model version to one group of devices after the other",
        "docs/size-a-rollout.md",
    ),
    Term("stage", "a named span of simulated time in a scenario", "docs/scenario.md"),
    Term(
        "threshold", "a rule at the end of a scenario; if it breaks, the exit status is 99", "docs/metrics.md"
    ),
    Term("user group", "users with like tastes, who share an item table", "docs/method.md"),
)
"""The words that pages explain."""

_BY_FORM: Final[Mapping[str, Term]] = {
    f"t{number}": term for number, term in enumerate(sorted(TERMS, key=lambda term: -len(term.word)))
}
_FORMS: Final = re.compile(
    "|".join(
        rf"(?P<{name}>(?<!\w)(?:{term.pattern or re.escape(term.word) + 's?'})(?!\w))"
        for name, term in _BY_FORM.items()
    ),
    re.IGNORECASE,
)


def explain(text: str) -> Markup:
    """Return *text* with the first mention of each word as a button that opens its explanation."""
    seen = set[str]()

    def mention(found: re.Match[str]) -> str:
        name = found.lastgroup
        assert name is not None
        if name in seen:
            return found[0]
        seen.add(name)
        anchor = _BY_FORM[name].anchor
        return f'<button type="button" class="term" popovertarget="{anchor}">{found[0]}</button>'

    return Markup(_FORMS.sub(mention, str(escape(text))))
