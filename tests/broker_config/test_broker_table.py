"""The table of docs/brokers.md: each broker does as it says, and scenarios are refused by it."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks.broker_table import KINDS, PAGE, VERSION, columns_of, markdown, try_broker
from broker_config.daemons import BrokerKind
from broker_config.endpoint import CAPABILITIES
from broker_config.launch import is_installed
from wire.units import format_bytes

CAPABILITY_ROWS = {
    "shared_subscriptions": "shared subscriptions, for several clouds",
    "wills_on_keepalive_expiry": "last will when a client falls silent",
    "wills_on_takeover": "last will when its client id is taken over",
    "offline_queues": "persistent sessions",
    "names_with_dots": "names with a dot",
}
LARGEST = "largest message, of 128 KiB, 1, 8 and 64 MiB"


@pytest.mark.parametrize("kind", KINDS)
def test_scenarios_are_refused_for_what_the_table_says(kind: BrokerKind) -> None:
    column, can = columns_of(PAGE.read_text(encoding="utf-8"))[kind], CAPABILITIES[kind]
    shown = {name: column[row] == "yes" for name, row in CAPABILITY_ROWS.items()}
    assert shown == {name: getattr(can, name) for name in CAPABILITY_ROWS}
    assert column[LARGEST] == format_bytes(can.largest_part_bytes)


def test_the_table_is_written_as_it_is_read() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert markdown(columns_of(page)) in page


@pytest.mark.slow
def test_each_installed_broker_does_what_the_table_says() -> None:
    """All at the same time: a trial waits for what does not come."""
    installed = [kind for kind in KINDS if is_installed(kind)]
    with ThreadPoolExecutor(len(installed)) as threads:
        found = dict(zip(installed, threads.map(try_broker, installed), strict=True))
    columns = columns_of(PAGE.read_text(encoding="utf-8"))
    for kind in installed:
        version = {VERSION: columns[kind][VERSION]}  # Debian may bring a newer one
        if found[kind] | version != columns[kind]:  # late on a busy machine: once more, alone
            found[kind] = try_broker(kind)
        found[kind] |= version
    assert found == {kind: columns[kind] for kind in installed}, "run make docs-brokers"
