"""The columns of the tables of a run: descriptions for the Parquet files and for docs/events.md."""

from collections.abc import Mapping
from typing import Final

from devices.event_log import COLUMNS, MOMENTS

COMMON: Final[Mapping[str, str]] = {
    "t_ns": "simulated time since the start of the run, in nanoseconds",
    "wall_s": "seconds on the wall clock of the process that logged it; not part of the logical log, and not "
    "there under the virtual clock",
    "device": "number of the device: its row in devices.parquet, from 0",
    "order": "number of the row among all rows of its device, in all tables, from 1",
}
TABLES: Final[Mapping[str, str]] = {
    "budget": "A row for each change of a device's budget, the first one included.",
    "update": "A row for each exchange: a report, its answer, and the result. `t_ns` is its end. "
    "A span is null where its moment did not come.",
    "quality": "A row for each state of a device: what it holds from then on, until its next row.",
    "connection": "A row for each time that a device connects or is disconnected.",
    "fault": "A row for each message that was lost, damaged, copied, delayed or refused on its way.",
    "rollout": "A row for each step of a rollout that a device takes.",
    "interaction": "A row for each visit of a user, which is ranked before it is learned from, and for each "
    "exchange of items met for a list or a vector. Only where the scenario has `interactions`.",
}
_OWN: Final[Mapping[str, Mapping[str, str]]] = {
    "budget": {
        "free_bytes": "memory that was free",
        "budget_bytes": "what the device may use from then on",
        "resident_before_bytes": "what its embeddings took before",
        "resident_bytes": "what they take after the device has evicted blocks by itself, if it did",
        "pressure": "level of memory pressure",
    },
    "update": {
        "seq": "number of the report, rising for each device",
        "cause": "why the device reported",
        "result": "how the exchange ended",
        "sent": "what kind of update answered it",
        "changed_ns": "from the change of budget, user or offered model that this answers to the end",
        "sent_ns": "from that change to when the report left",
        "arrived_ns": "from the moment before to when it was at the cloud",
        "begun_ns": "from the moment before to when the cloud took it up",
        "left_ns": "from the moment before to when the answer left",
        "answered_ns": "from the moment before to when the answer began to arrive, or would have",
        "received_ns": "from the moment before to when the last part that was needed was on the device",
        "applied_ns": "from the moment before to when the PEE asked for was held",
        "report_bytes": "payload of the report",
        "report_wire_bytes": "the same with MQTT and TCP/IP framing, every copy that was sent",
        "ack_wire_bytes": "confirmations of the report and of parts, both ways, with framing",
        "resent_wire_bytes": "part of both wire bytes: what the transport sent again after a loss",
        "parts": "parts of the answer; 0: none was sent",
        "update_bytes": "payload of all parts that were sent, copies included",
        "copied_bytes": "of these the payload of second and third copies",
        "update_wire_bytes": "parts with MQTT and TCP/IP framing",
        "used_bytes": "payload of the parts that were taken in",
        "lost_bytes": "payload of the parts that never arrived",
        "full_update_bytes": "payload that the whole PEE would have taken",
        "wanted_bytes": "the budget in the report",
        "held_before": "blocks held when the report left",
        "held": "blocks held at the end",
    },
    "quality": {
        "budget_bytes": "what the device may use",
        "resident_bytes": "what its embeddings take",
        "layer": "the largest layer of which it holds every block; 0: none",
        "best_layer": "the largest layer that fits the budget: the best PEE for it",
        "ndcg_at_10": "NDCG@10 of what it holds, for its user",
        "recall_at_20": "Recall@20 of what it holds",
        "hit_rate_at_10": "hit rate at 10 of what it holds",
        "best_ndcg_at_10": "NDCG@10 of the best PEE for the budget",
        "full_ndcg_at_10": "NDCG@10 of the whole table",
        "pressure": "level of memory pressure",
        "online": "whether it is connected",
        "version": "number of the model version held, in the order of the run's versions, from 0",
        "user_group": "group of its user, in that version",
        "message_bytes": "payload of the message in which it reports this; 0: not connected, none is sent",
        "message_wire_bytes": "the same with MQTT and TCP/IP framing",
    },
    "connection": {
        "online": "whether it is connected from then on",
        "why": "why it was disconnected, or had not been connected",
        "message_bytes": "payload of the status message, or will, that says so",
        "message_wire_bytes": "the same with MQTT and TCP/IP framing",
    },
    "fault": {
        "harm": "what happened to the message",
        "seq": "number of the report of the exchange",
        "bytes": "payload of the message",
        "place": "number of the fault in the scenario's list, from 0; -1: the link itself, or the connection",
        "times": "how often; more than once only with `recovery: transport`",
    },
    "rollout": {
        "step": "what happened",
        "group": "number of the device's group in the rollout, from 0",
    },
    "interaction": {
        "event": "visit: the user met items; exchange: the device reported the items met since the last one "
        "and fetched a list or a vector",
        "user": "number of the user",
        "newcomer": "whether training did not see the user",
        "items": "items that the user met, none of them known before; 0 for an exchange",
        "known": "items that the user knew before",
        "version": "number of the model version held, in the order of the run's versions, from 0; -1: none",
        "user_group": "group of the user, in that version",
        "layer": "the largest layer of which the device holds every block; 0: none",
        "budget_bytes": "what the device's blocks may use",
        "age_ns": "since the model version held was trained (the first one: since the start), or since the "
        "list held was made; -1: the device has nothing to rank with",
        "ndcg_at_10": "NDCG@10 of the items met, ranked before they were known; 0 for an exchange",
        "recall_at_20": "Recall@20 of the same",
        "hit_rate_at_10": "hit rate at 10 of the same",
        "cloud_ndcg_at_10": "NDCG@10 of the same items, ranked by the whole table of the newest model "
        "version with a vector learned from what the user met before",
        "learning_bytes": "what the device keeps in order to learn, besides its blocks and the vector that "
        "came with them",
        "down_bytes": "payload of the list or the vector that the exchange brought",
        "up_bytes": "payload of the items that it reported",
    },
}


_UNITS: Final[Mapping[str, str]] = {
    "_ns": "ns",
    "_s": "s",
    "bytes": "B",
    "bytes_by_version": "B",
    "number": "that of the metric",
}


def unit_of(column: str) -> str:
    """Return the unit of a column of a table, by its name; 1: a count, a share, a word or a number."""
    return next((unit for ending, unit in _UNITS.items() if column.endswith(ending)), "1")


def span_name(moment: str) -> str:
    """Return the column of a part that has the span to a moment of an exchange."""
    return f"{moment.removesuffix('_ns')}_span_ns"


def part_column(table: str, column: str) -> str:
    """Return the name of a column of the log in the parts of its table."""
    return span_name(column) if table == "update" and column in MOMENTS else column


EVENT_COLUMNS: Final[Mapping[str, Mapping[str, str]]] = {
    name: {part_column(name, column): {**COMMON, **_OWN[name]}[column] for column in columns}
    for name, columns in COLUMNS.items()
}
"""Descriptions of the columns of the parts of each event table."""
_MOMENTS: Final[Mapping[str, str]] = {
    "changed_ns": "the budget, user or offered model changed that this answers",
    "sent_ns": "the report left",
    "arrived_ns": "the report was at the cloud",
    "begun_ns": "the cloud took it up",
    "left_ns": "the answer left",
    "answered_ns": "the answer began to arrive, or would have",
    "received_ns": "the last part that was needed was on the device",
    "applied_ns": "the PEE asked for was held",
}
ROW_COLUMNS: Final[Mapping[str, Mapping[str, str]]] = {
    name: {
        **{column: {**COMMON, **_OWN[name]}[column] for column in columns},
        "device": "id of the device, as in devices.parquet",
        **{
            moment: f"simulated time at which {words}; null: it did not come"
            for moment, words in _MOMENTS.items()
            if moment in columns
        },
    }
    for name, columns in COLUMNS.items()
}
"""Descriptions of the columns of the event tables as a program gets them, with ids and moments."""
DEVICE_COLUMNS: Final[Mapping[str, tuple[str, str]]] = {
    "device": ("string", "id of the device; devices are numbered in the order of these rows, from 0"),
    "group": ("string", "its group of the fleet"),
    "labels": ("map<string, string>", "labels of the group"),
    "node": ("string", "its class of device"),
    "network": ("string", "the network that it starts on"),
    "network_ns": ("list<int64>", "when it moves to other networks, in nanoseconds"),
    "networks": ("list<string>", "the networks that it moves to then"),
    "user": ("int64", "number of the user that it starts with"),
    "user_group": ("int64", "group of that user in the first model version"),
    "new_user_ns": ("list<int64>", "when it gets other users, in nanoseconds"),
    "new_user_groups": ("list<int64>", "their groups in the first model version"),
    "start_ns": ("int64", "when its memory starts to move, in nanoseconds"),
    "faults": ("list<int64>", "numbers of the faults that concern its links, in the scenario's list, from 0"),
    "actions": (
        "list<int64>",
        "numbers of the actions that are applied to it, in the scenario's list, from 0",
    ),
    "full_bytes": ("int64", "size of the whole table of its first user's group"),
    "full_ndcg_at_10": ("double", "NDCG@10 of the whole table for its first user"),
    "full_recall_at_20": ("double", "Recall@20 of the same"),
    "full_hit_rate_at_10": ("double", "hit rate at 10 of the same"),
    "user_group_by_version": ("list<int64>", "group of its first user, in each model version"),
    "full_bytes_by_version": ("list<int64>", "size of the whole table, of each model version"),
    "full_ndcg_at_10_by_version": ("list<double>", "NDCG@10 of the whole table, of each model version"),
}
"""The columns of devices.parquet: type and description."""
SAMPLE_COLUMNS: Final[Mapping[str, tuple[str, str]]] = {
    "fleet_devices": ("int64", "number of devices of the fleet in its group"),
    "sampled_devices": ("int64", "number of devices of its group that were simulated"),
}
"""Further columns of devices.parquet where a sample of the fleet was simulated."""
METRIC_COLUMNS: Final[Mapping[str, tuple[str, str]]] = {
    "metric": ("string", "name of the metric"),
    "dimension": ("string", "what it is split by; `all`: the whole run"),
    "value": ("string", "value of the dimension; empty for the whole run"),
    "statistic": ("string", "total, share, value, mean, n, min, p50, p90, p95, p99, p99.9, max"),
    "number": ("double", "the figure, in seconds, bytes, shares or a count; null: no data"),
}
"""The columns of metrics.parquet: type and description."""


def meanings_of(columns: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """Return the description of each column."""
    return {name: meaning for name, (_, meaning) in columns.items()}
