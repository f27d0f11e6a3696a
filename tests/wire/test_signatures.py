"""Signatures on messages of the cloud: what they cover, and the keys."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from broker_config.file_modes import SECRET
from cloud.service.responder import Responder, notice_of
from emulator.cli.signing_key import signing_key
from tests.emulator.cli.refusals import refusal
from tests.worlds import a_store
from wire.errors import InputError, Reason, RemoteProtocolError
from wire.messages import BudgetReport, ErrorAnswer, ModelNotice, decode, encode
from wire.signatures import Verify, check_json, check_part, sign_json, sign_part
from wire.signing_keys import MOST_KEYS, new_key_pair, read_public_keys, read_signing_key
from wire.update_part import decode_part, peek

STORE = a_store()
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))
TOPIC = "peel/1/lab/phone-1/pee"
NOTICE = encode(notice_of(STORE))
PARTS = Responder(STORE, 1600).respond(BudgetReport(seq=1_767_225_600_001, budget_bytes=900, user=0))
ERROR = encode(ErrorAnswer(seq=7, reason="rate", text="é", remedy="wait", retry_after_s=1.0))
JSONS = [NOTICE, ERROR, b"{}"]


def verify(signature: bytes, covered: bytes) -> bool:
    return signature == KEY.sign(covered)  # Ed25519 gives one signature for one text


def is_signed(payload: bytes, topic: str = TOPIC, known: Verify = verify) -> bool:
    check = check_part if payload[:1] != b"{" else check_json
    try:
        check(payload, topic, known)
    except RemoteProtocolError as error:
        return error.reason not in (Reason.SIGNATURE, Reason.MALFORMED, Reason.TOO_LARGE)
    return True


def test_a_signed_message_says_what_it_said_and_is_known_by_its_key_and_topic() -> None:
    for payload in JSONS[:2]:
        signed = sign_json(payload, TOPIC, KEY.sign)
        kind = ModelNotice if payload == NOTICE else ErrorAnswer
        assert decode(signed, kind) == decode(payload, kind)  # type: ignore[type-var]  # one of two
        assert check_json(signed, TOPIC, verify) == signed
    for part in PARTS:
        signed, plain = sign_part(part, TOPIC, KEY.sign), decode_part(part)
        read = decode_part(signed)
        assert (read.seq, read.layout, read.content()) == (plain.seq, plain.layout, plain.content())
        assert peek(signed) == peek(part)
        check_part(signed, TOPIC, verify)
        assert len(signed) - len(part) == 144
    for signed in (sign_json(NOTICE, TOPIC, KEY.sign), sign_part(PARTS[0], TOPIC, KEY.sign)):
        assert is_signed(signed)
        assert not is_signed(signed, "peel/1/lab/phone-2/pee")
        assert not is_signed(signed, known=lambda signature, covered: signature == OTHER.sign(covered))
    assert not any(map(is_signed, [*JSONS, *PARTS]))  # they are not signed


def test_without_a_key_nothing_is_signed_or_checked() -> None:
    assert sign_json(NOTICE, TOPIC, None) == check_json(NOTICE, TOPIC, None) == NOTICE
    assert sign_part(PARTS[0], TOPIC, None) == PARTS[0]
    check_part(b"nonsense", TOPIC, None)
    assert sign_json(b"", TOPIC, KEY.sign) == b""  # clears what a broker keeps


@given(st.data())
def test_any_change_of_a_byte_is_found(data: st.DataObject) -> None:
    signed = data.draw(
        st.sampled_from(
            [
                *(sign_json(each, TOPIC, KEY.sign) for each in JSONS),
                *(sign_part(each, TOPIC, KEY.sign) for each in PARTS),
            ]
        )
    )
    at, mask = data.draw(st.integers(0, len(signed) - 1)), data.draw(st.integers(1, 255))
    changed = signed[:at] + bytes([signed[at] ^ mask]) + signed[at + 1 :]
    if signed[:1] == b"{":
        assert not is_signed(b"{" + changed[1:]) or changed[:1] != b"{"
        return
    try:  # the checksum finds its own digits, the signature all else
        decode_part(changed)
    except RemoteProtocolError:
        return
    assert not is_signed(changed)


@given(st.binary(max_size=400), st.integers(0, 300))
def test_bytes_of_anybody_are_not_signed(junk: bytes, cut: int) -> None:
    signed = sign_part(PARTS[0], TOPIC, KEY.sign)
    notice = sign_json(NOTICE, TOPIC, KEY.sign)
    for payload in (junk, b"{" + junk, junk + signed[cut:], signed[: cut + 100] + junk, notice[:cut] + junk):
        assert not is_signed(payload) or payload in (signed, notice)


def test_a_field_before_the_last_is_no_signature() -> None:
    signed = sign_json(NOTICE, TOPIC, KEY.sign)
    moved = signed[:-1] + b',"users":1}'
    assert not is_signed(moved)
    assert not is_signed(signed.replace(b'"signature":"', b'"signaturE":"'))
    assert not is_signed(signed.upper())
    assert not is_signed(b"{" + signed[1:] + b" " * 4096)


def test_the_keys_of_the_verb_fit_together_and_several_can_be_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("old", "new", "rogue"):
        signing_key(tmp_path / name)
    assert capsys.readouterr().out.splitlines()[:2] == [
        f"{tmp_path / 'old'}: the private key: only the cloud's machine needs it",
        f"{tmp_path / 'old.pub'}: the public key: give it to every device",
    ]
    assert (tmp_path / "old").stat().st_mode & 0o777 == SECRET
    both = tmp_path / "both.pub"
    both.write_text("# ours\n" + (tmp_path / "old.pub").read_text() + (tmp_path / "new.pub").read_text())
    signed = {
        name: sign_part(PARTS[0], TOPIC, read_signing_key(tmp_path / name))
        for name in ("old", "new", "rogue")
    }
    known = {name: is_signed(part, known=read_public_keys(both)) for name, part in signed.items()}
    assert known == {"old": True, "new": True, "rogue": False}
    assert not is_signed(signed["old"], known=read_public_keys(tmp_path / "new.pub"))
    with pytest.raises(InputError, match="old: is there already"):
        signing_key(tmp_path / "old")
    with pytest.raises(InputError, match="No such file or directory"):
        signing_key(tmp_path / "none" / "key")


def test_a_file_that_is_no_key_is_one_line(tmp_path: Path) -> None:
    pair, path = new_key_pair(), tmp_path / "key"
    ecdsa = ec.generate_private_key(ec.SECP256R1())
    pem, bare = serialization.Encoding.PEM, serialization.NoEncryption()
    other_public = ecdsa.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    other_private = ecdsa.private_bytes(pem, serialization.PrivateFormat.PKCS8, bare)
    wrong_private = (
        "must hold a private key of Ed25519 as PEM, without a password, as `peelfleet signing-key`"
    )
    for content, read, words in (
        (pair.public, read_signing_key, wrong_private),
        (other_private, read_signing_key, wrong_private),
        (b"", read_public_keys, f"must hold 1 to {MOST_KEYS} public keys as PEM, and has 0"),
        (pair.private, read_public_keys, f"must hold 1 to {MOST_KEYS} public keys as PEM, and has 0"),
        (pair.public * 9, read_public_keys, f"must hold 1 to {MOST_KEYS} public keys as PEM, and has 9"),
        (pair.public + other_public, read_public_keys, "key 2 must be a public key of Ed25519"),
        (pair.public.replace(b"M", b"!"), read_public_keys, "key 1 must be a public key of Ed25519"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: {words}")
    missing = tmp_path / "missing"
    command = ("agent", "--broker", "mqtt://a:b@127.0.0.1", "--fleet", "f", "--device", "d", "--user", "1")
    assert refusal(*command, "--public-key", str(missing)) == (
        f"{missing}: must hold public keys as PEM: No such file or directory"
    )
