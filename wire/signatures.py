"""Signatures of the cloud on its messages: their places, and the bytes that they cover.

A signature is 64 bytes (Ed25519), as 128 hexadecimal digits. It covers the message's topic, a zero byte, and
the message with zeros for the digits of the signature; of an update part the header, with zeros for those of
the checksum, too, and then the SHA-256 of the data section. In a JSON message it is the last field, in a part
the field behind the number of the report. So no byte of a message can be changed, and none can be passed on
under another topic. There are no keys in this file: `wire.signing_keys` reads them.
"""

import hashlib
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from wire.errors import Reason, RemoteProtocolError
from wire.messages import MAX_JSON_BYTES
from wire.update_part import SIGNATURE_FIELD, put_together, take_apart

Sign = Callable[[bytes], bytes]
"""Returns the signature of some bytes."""
Verify = Callable[[bytes, bytes], bool]
"""Tells whether the first bytes are a signature of the second ones."""

MOST_KEPT_BYTES: Final = 256 * 1024
"""The largest data section whose digest is kept."""
_JSON_FIELD: Final = b',"signature":"'
_JSON_END: Final = b'"}'
_DIGITS: Final = re.compile(rb"[0-9a-f]{128}")
_ZEROS: Final = b"0" * 128


def sign_json(payload: bytes, topic: str, sign: Sign | None) -> bytes:
    """Return a JSON message of the cloud with its signature; as it is, without a key or a content."""
    if sign is None or not payload:
        return payload
    head = payload[:-1] + _JSON_FIELD
    return head + _digits(sign, topic, head + _ZEROS + _JSON_END) + _JSON_END


def check_json(payload: bytes, topic: str, verify: Verify | None) -> bytes:
    """Return a JSON message, after a check of its signature if there are keys.

    Args:
        payload: the message.
        topic: the topic on which it came.
        verify: knows the cloud's keys; None: there are none.

    Raises:
        RemoteProtocolError: it has no signature, or a wrong one, or is too large.
    """
    if verify is None:
        return payload
    if len(payload) > MAX_JSON_BYTES:
        raise RemoteProtocolError(Reason.TOO_LARGE, f"{len(payload)} bytes, at most {MAX_JSON_BYTES}")
    at = len(payload) - len(_JSON_END) - len(_ZEROS)
    digits = payload[max(at, 0) : -len(_JSON_END)]
    if at < 0 or not payload[:at].endswith(_JSON_FIELD) or not payload.endswith(_JSON_END):
        digits = b""
    _check(digits, topic, payload[: max(at, 0)] + _ZEROS + _JSON_END, verify)
    return payload


def knows_own(sign: Sign | None) -> Verify | None:
    """Return the function that knows the signatures of *sign*: Ed25519 gives one signature for one text."""
    return None if sign is None else lambda signature, covered: sign(covered) == signature


def sign_part(payload: bytes, topic: str, sign: Sign | None) -> bytes:
    """Return an update part of `encode_part` with its signature; as it is, without a key."""
    if sign is None:
        return payload
    pieces = take_apart(payload)
    before = pieces.numbered + SIGNATURE_FIELD
    rest = pieces.rest + b" "  # the signature has 143 bytes with its name: a whole number of eight again
    digest = _kept_digest(pieces.data) if len(pieces.data) <= MOST_KEPT_BYTES else _digest(pieces.data)
    digits = _digits(sign, topic, before + _ZEROS + rest + digest)
    return put_together(pieces, SIGNATURE_FIELD + digits + rest)


def check_part(payload: bytes, topic: str, verify: Verify | None) -> None:
    """Check the signature of an update part, if there are keys.

    Raises:
        RemoteProtocolError: it has no signature, or a wrong one, or is no update part.
    """
    if verify is None:
        return
    pieces = take_apart(payload)
    header = pieces.numbered + SIGNATURE_FIELD + _ZEROS + pieces.rest
    _check(pieces.signature, topic, header + _digest(pieces.data), verify)


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


_kept_digest = lru_cache(maxsize=64)(_digest)
"""The digest of blocks that go to many devices, whose parts have one object for their data."""


def _digits(sign: Sign, topic: str, covered: bytes) -> bytes:
    return sign(b"%b\0%b" % (topic.encode(), covered)).hex().encode()


def _check(digits: bytes, topic: str, covered: bytes, verify: Verify) -> None:
    if _DIGITS.fullmatch(digits) is None:
        raise RemoteProtocolError(Reason.SIGNATURE, "no signature of the cloud")
    if not verify(bytes.fromhex(digits.decode()), b"%b\0%b" % (topic.encode(), covered)):
        raise RemoteProtocolError(Reason.SIGNATURE, f"not signed for {topic} with a key that is known here")
