"""The files that mosquitto reads."""

import base64
import hashlib
from pathlib import Path

from broker_config.accounts import Account
from broker_config.daemons import LARGEST_MESSAGE
from broker_config.mosquitto import configuration, password_line, write_files
from wire.topics import Role


def test_the_configuration_says_what_it_must() -> None:
    text = configuration(Path("/run/x"), "127.0.0.1", 2883, "mosquitto")
    assert [line for line in text.splitlines() if line and not line.startswith("#")] == [
        "per_listener_settings false",
        "listener 2883 127.0.0.1",
        "user mosquitto",
        "allow_anonymous false",
        "password_file /run/x/passwords",
        "acl_file /run/x/acl",
        "set_tcp_nodelay true",
        "max_inflight_messages 0",
        "max_queued_messages 100000",
        f"message_size_limit {LARGEST_MESSAGE}",
        "persistence true",
        "persistence_location /run/x/",
        "autosave_interval 1",
        "autosave_on_changes false",
        "sys_interval 1",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
        "log_type notice",
    ]


def test_a_password_line_holds_a_salted_hash() -> None:
    user, _, encoded = password_line("d1", "secret").partition(":")
    kind, iterations, salt, digest = encoded.split("$")[1:]
    again = hashlib.pbkdf2_hmac("sha512", b"secret", base64.b64decode(salt), int(iterations))
    assert (user, kind, base64.b64decode(digest)) == ("d1", "7", again)
    assert password_line("d1", "secret") != password_line("d1", "secret")


def test_only_the_service_can_read_the_files(tmp_path: Path) -> None:
    write_files(tmp_path, "127.0.0.1", 2883, [Account("_cloud", Role.CLOUD, "secret")])
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"mosquitto.conf": 0o600, "passwords": 0o600, "acl": 0o600}
    assert "secret" not in "".join(path.read_text() for path in tmp_path.iterdir())
