"""Removal of passwords from text for people."""

import re

_LOGIN = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]{1,15}://)[^\s'\"@]*:[^\s'\"]*@")


def redact_passwords(text: str) -> str:
    """Return *text* with the user and password of every URL replaced by dots."""
    return _LOGIN.sub(r"\1...@", text)
