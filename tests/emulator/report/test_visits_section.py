"""The section of a report on visits: sentences and tables from the numbers of a run."""

import pyarrow as pa

from emulator.report.page_parts import ReportTable, ReportText
from emulator.report.visits_section import visits_section

NDCG = "prequential_ndcg_at_10"
SUMMARY = {
    "visits": 1200, NDCG: 0.25, f"{NDCG}_in_cloud": 0.5, f"{NDCG}_of_cloud": 0.5, "recommender_exchanges": 40,
    "recommender_bytes_down": 8192, "recommender_bytes_up": 512,
}  # fmt: skip


def measured(*rows: tuple[str, str, float, float]) -> pa.Table:
    """Return the metrics of values of dimensions: (dimension, value, visits, NDCG@10)."""
    columns = ("metric", "dimension", "value", "statistic", "number")
    both = [
        row
        for dimension, value, visits, ndcg in rows
        for row in (
            ("visits", dimension, value, "total", visits),
            (NDCG, dimension, value, "value", ndcg),
            (f"{NDCG}_of_cloud", dimension, value, "value", None),
        )
    ]
    return pa.table(dict(zip(columns, zip(*both, strict=True), strict=True)))


def test_each_dimension_with_visits_has_a_sentence_and_a_row_per_value() -> None:
    table = measured(
        ("all", "", 1200, 0.25),
        ("age", "below_1d", 800, 0.3),
        ("age", "below_3d", 400, 0.15),
        ("age", "from_14d", 0, 0.0),
        ("newcomer", "no", 1000, 0.28),
        ("newcomer", "yes", 200, 0.1),
        ("group", "phone", 1200, 0.25),
    )
    section = visits_section(SUMMARY, table)
    assert section is not None
    assert section.finding == "In 1,200 visits the mean NDCG@10 was 0.250, 50.00 % of the cloud's 0.500."
    assert "40 exchanges brought lists and vectors of 8 KiB; devices sent 512 B" in section.caption
    texts = [(part.heading, *part.lines) for part in section.parts if isinstance(part, ReportText)]
    assert texts == [  # one group is the whole, so there is no table of groups
        (
            "By age of what the device ranked with",
            "NDCG@10 was 0.300 with the newest and 0.150 with the oldest.",
        ),
        ("By newcomer", "Newcomers had an NDCG@10 of 0.100, users that training saw one of 0.280."),
    ]
    by_age = next(part for part in section.parts if isinstance(part, ReportTable))
    assert [row.cells for row in by_age.rows] == [  # no visit was as late as 14 days
        ["below 1d", "800", "0.300", "–", "–", "–"],
        ["below 3d", "400", "0.150", "–", "–", "–"],
    ]


def test_a_run_without_visits_has_no_section() -> None:
    assert visits_section({"visits": 0}, None) is visits_section({}, None) is None
    alone = {**SUMMARY, "recommender_exchanges": 0}
    section = visits_section(alone, None)
    assert section is not None
    assert "what users met stayed on their devices" in section.caption
