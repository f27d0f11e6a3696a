"""Keys for signatures of the cloud, as PEM files: Ed25519.

The file of public keys may hold several, one after the other, so that devices know the next key before the
cloud uses it.
"""

import re
from pathlib import Path
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from wire.errors import InputError
from wire.output_files import os_error_text
from wire.signatures import Sign, Verify

MOST_KEYS: Final = 8
"""Public keys in a file: a message that none of them has signed costs a check by each."""
_PUBLIC: Final = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)


class SigningKeyPair(NamedTuple):
    """A new pair of keys, as PEM."""

    private: bytes
    public: bytes


def new_key_pair() -> SigningKeyPair:
    """Return a new pair of keys."""
    key, pem = Ed25519PrivateKey.generate(), serialization.Encoding.PEM
    return SigningKeyPair(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo),
    )


def new_signing_function() -> Sign:
    """Return a function that signs with a new private key."""
    return Ed25519PrivateKey.generate().sign


def read_signing_key(path: Path) -> Sign:
    """Return the function that signs with the private key in a file.

    Raises:
        InputError: there is no such key.
    """
    what = "a private key of Ed25519 as PEM, without a password"
    try:
        key = serialization.load_pem_private_key(_read(path, what), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{path}: must hold {what}, as `peelfleet signing-key` writes it")
    return key.sign


def read_public_keys(path: Path) -> Verify:
    """Return the function that verifies with the public keys in a file: one of them must fit.

    Raises:
        InputError: there is none, or too many.
    """
    blocks = _PUBLIC.findall(_read(path, "public keys as PEM"))
    if not 1 <= len(blocks) <= MOST_KEYS:
        raise InputError(f"{path}: must hold 1 to {MOST_KEYS} public keys as PEM, and has {len(blocks)}")
    keys = [_public_key(path, number, block) for number, block in enumerate(blocks, start=1)]
    return lambda signature, covered: any(_fits(key, signature, covered) for key in keys)


def _public_key(path: Path, number: int, block: bytes) -> Ed25519PublicKey:
    try:
        key = serialization.load_pem_public_key(block)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(f"{path}: key {number} must be a public key of Ed25519")
    return key


def _fits(key: Ed25519PublicKey, signature: bytes, covered: bytes) -> bool:
    try:
        key.verify(signature, covered)
    except InvalidSignature:
        return False
    return True


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: must hold {what}: {os_error_text(error)}") from None
