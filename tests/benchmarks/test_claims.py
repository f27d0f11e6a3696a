"""The table of the paper's claims, on a small world."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality.claims import CLAIMS, compare_claims, paired_ratio


def test_a_ratio_of_means_has_no_width_where_users_agree() -> None:
    theirs = np.array([0.1, 0.4, 0.7])
    assert paired_ratio(1.5 * theirs, theirs) == pytest.approx((1.5, 0.0))
    ratio, width = paired_ratio(np.array([0.3, 0.2, 0.7]), theirs)
    assert ratio == pytest.approx(1.0)
    # Errors of .2, -.2 and 0 of a mean of .4: deviation .5, and Student's 4.303 over three users.
    assert width == pytest.approx(4.3027 * 0.5 / 3**0.5, rel=1e-3)


@pytest.mark.slow
def test_the_table_says_of_each_claim_whether_it_came_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even users like even items."""
    rows = [[str(item) for item in range(user % 2, 60, 2)] for user in range(40)]
    for name, part in (("train", slice(0, 24)), ("test", slice(24, 30))):
        text = "".join(" ".join([str(user), *row[part]]) + "\n" for user, row in enumerate(rows))
        (tmp_path / f"{name}.txt").write_text(text)
    compare_claims([tmp_path], 1, tmp_path / "out")
    printed = capsys.readouterr().out
    lines = [line for line in printed.splitlines() if line.startswith("| ")]
    claims = [line for line in lines if "±" in line]
    assert len(claims) == 2 * (len(CLAIMS) + 1)
    assert all(re.search(r"\| (yes|no|in part)(; the opposite at \d)? \|$", line) for line in claims)
    figures = json.loads((tmp_path / "out" / "claims.json").read_bytes())
    assert [title.split(", ")[1] for title in figures] == ["tiled score", "aligned score"]
    for variants in figures.values():
        assert set(variants["paper"]) == {"34", "68", "171", "320"}
        assert variants["paper"]["320"]["ndcg_at_20"] == pytest.approx(
            variants["popularity"]["320"]["ndcg_at_20"]
        )
