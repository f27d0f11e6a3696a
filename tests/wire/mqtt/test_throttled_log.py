"""Log lines about the network: few, short, and not forgeable by the network."""

import logging

import pytest

from wire.mqtt.throttled_log import LONGEST, ThrottledLog

LOG = logging.getLogger("complaints")


def test_a_flood_is_a_line_a_second_for_each_reason(caplog: pytest.LogCaptureFixture) -> None:
    log = ThrottledLog(LOG)
    for tenth in range(25):
        log.refused("rate" if tenth % 2 else "size", "t", "no", tenth / 10)
    lines = [(record.reason, record.silent) for record in caplog.records]  # type: ignore[attr-defined]  # extras
    assert lines == [("size", 0), ("rate", 0), ("size", 4), ("rate", 4), ("size", 4), ("rate", 4)]


@pytest.mark.parametrize("text", ["a\nb", "a\r\x1b[2Jb", "a\u2028b", "\0", "\ud800"])
def test_what_is_sent_cannot_begin_a_line_of_its_own(caplog: pytest.LogCaptureFixture, text: str) -> None:
    ThrottledLog(LOG).refused("junk", text, text, 0.0)
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.isprintable()
    message.encode()


def test_what_is_sent_is_cut_short(caplog: pytest.LogCaptureFixture) -> None:
    ThrottledLog(LOG).refused("junk", "t" * 60_000, "x" * 60_000, 0.0)
    assert len(caplog.records[0].getMessage()) < 2 * LONGEST + 100
