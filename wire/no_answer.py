"""The text of errors about a missing answer: the numbers published and received, and usual causes.

MQTT does not tell which messages a broker dropped, so both ends count.
"""

USUAL_CAUSES = (
    "a payload limit of the broker (message_size_limit, max_packet_size), an access rule, "
    "a QoS cap (max_qos), a full queue (max_queued_messages), a client id that is used twice, "
    "another fleet's name, a user that the model does not have"
)


def no_answer_text(*notes: str) -> str:
    """Return the text.

    Args:
        notes: numbers published and received, and other facts; empty ones are left out.
    """
    known = "; ".join(filter(None, notes))
    return f"{known}. Usual causes: {USUAL_CAUSES}"


def count_text(count: int, noun: str, plural: str = "") -> str:
    """Return ``1 report`` or ``2 reports``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {plural or noun + 's'}"
