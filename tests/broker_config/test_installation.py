"""`broker init`: refused options, files that it keeps, and modes of the files that it writes."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from broker_config.accounts import read_credentials
from broker_config.endpoint import parse_url
from broker_config.file_modes import write_secret
from broker_config.installation import Installation, install
from wire.errors import InputError

WANTED = Installation("f", ["localhost"], ("d1",))


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    paths = [folder, *folder.rglob("*")]
    return {str(path.relative_to(folder.parent)): stat.S_IMODE(path.stat().st_mode) for path in paths}


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_who_can_read_what_does_not_hang_on_the_umask(tmp_path: Path, mask: int) -> None:
    with umask(mask):
        install(tmp_path / "b", Installation("f", ["localhost"], ("d1",), client_certificates=True))
    secret = ["mosquitto.conf", "passwords", "acl", "revoked.pem", "ca.key", "server.key", "credentials.csv"]
    users = ["_fleet", "_cloud", "_observer", "d1"]
    assert modes(tmp_path / "b") == {
        "b": 0o755,
        "b/state": 0o700,
        "b/clients": 0o700,
        **{f"b/{name}": 0o600 for name in secret},
        **{f"b/{name}": 0o644 for name in ("ca.crt", "server.crt")},
        **{f"b/clients/{user}.key": 0o600 for user in users},
        **{f"b/clients/{user}.crt": 0o644 for user in users},
    }


def test_force_replaces_only_what_broker_init_has_written(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="home: holds other things than `broker init` writes"):
        install(home, WANTED, force=True)
    install(tmp_path / "b", WANTED)
    (tmp_path / "b" / "state" / "mosquitto.db").write_text("what the broker has written")
    install(tmp_path / "b", WANTED, force=True)
    (tmp_path / "b" / "notes.txt").write_text("somebody's")
    with pytest.raises(InputError, match=r"b: holds other things than `broker init` writes: notes\.txt"):
        install(tmp_path / "b", WANTED, force=True)
    assert (home / "thesis.tex").read_text() == "years of work"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "home"]


@pytest.mark.parametrize("host", ["", "bröker.example", "a b", "*", "x" * 254, "evil\nname"])
def test_a_host_that_no_certificate_can_name_is_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(InputError, match=r"--host .*: must be a name or an address"):
        install(tmp_path / "b", Installation("f", [host], ()))
    assert list(tmp_path.iterdir()) == []


def test_long_names_fit_into_certificates(tmp_path: Path) -> None:
    host = ".".join(["x" * 60] * 4)
    install(tmp_path / "b", Installation("f" * 64, [host, "::1"], ("d" * 64,), client_certificates=True))
    assert (tmp_path / "b" / "clients" / ("d" * 64 + ".crt")).exists()


@pytest.mark.parametrize("bind", ["0.0.0.0\nallow_anonymous true", "fe80::1%x\nuser root", "eth0", ""])
def test_an_address_to_listen_on_is_one(tmp_path: Path, bind: str) -> None:
    with pytest.raises(InputError, match=r"--bind .*: must be an IP address"):
        install(tmp_path / "b", Installation("f", ["localhost"], (), bind=bind))


def test_a_folder_whose_name_would_be_lines_of_a_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be one line"):
        install(tmp_path / "b\nallow_anonymous true", WANTED)


@pytest.mark.parametrize(
    "name", ["+", "#", "d1/budget", "%u", "${username}", "_cloud", "d 1", "=1+1", "é", "d1\n"]
)
def test_a_device_has_a_name_that_is_the_same_in_every_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"broker user\(=.*\) is no user name|must be unique"):
        install(tmp_path / "b", Installation("f", ["localhost"], (name,)))


def test_the_folder_one_stands_in_is_named_like_any_other(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "emulator.cli", "broker", "init", ".", "--fleet", "f", "--force"]
    here = Path(__file__).parents[2]
    (tmp_path / "thesis.tex").write_text("years of work")
    ended = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(here)}, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1
    assert "holds other things than `broker init` writes: thesis.tex" in ended.stderr


def test_a_secret_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("theirs")
    (tmp_path / "key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        write_secret(tmp_path / "key", "ours")
    (tmp_path / "old").write_text("readable")
    (tmp_path / "old").chmod(0o644)
    write_secret(tmp_path / "old", "ours")
    assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o600
    assert (tmp_path / "elsewhere").read_text() == "theirs"


@pytest.mark.parametrize(
    "text", ["role,user,password\ndevice,d1\n", "role,user,password\nking,d1,x\n", "user\n_cloud\n", "\x00"]
)
def test_credentials_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "credentials.csv").write_text(text)
    with pytest.raises(
        InputError, match=r"credentials\.csv: must be credentials, as `broker init` writes them"
    ):
        read_credentials(tmp_path / "credentials.csv")


@pytest.mark.parametrize(
    "url",
    [
        "mqtts://u:12?hunter2@host",
        "mqtt://u:12?hunter2@host",
        "mqtts://u:12#hunter2@host",
        "mqtts://u:12/hunter2@host",
        "mqtts://u:hunter2",
        "mqtts://u:[hunter2@host",
        "mqtts://u:hunter2@host:99999",
        "mqtts://u:hunter2@ho st",
        "mqtts://u:hunter2@host?ca=missing",
    ],
)
def test_no_message_about_a_broker_shows_its_password(url: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_url(url)
    assert "hunter2" not in str(caught.value)


def test_credentials_that_are_none_are_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "credentials.csv"
    begin = f"{file}: must be credentials, as `broker init` writes them"
    for text, why in {
        "role,user,password\n_cloud,hunter2,cloud\n": (
            "row 2 must have one of device, fleet, cloud, emulator, observer, a user and a password"
        ),
        "hunter2\n": "the first line must be role,user,password",
        "": "the first line must be role,user,password",
        "\udcff": "byte 1 is not UTF-8 text",
    }.items():
        file.write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(InputError) as caught:
            read_credentials(file)
        assert str(caught.value) == f"{begin}: {why}"
    file.unlink()
    file.symlink_to("/dev/zero")
    with pytest.raises(InputError, match="is no regular file, and cannot be credentials"):
        read_credentials(file)


def test_a_link_that_leads_to_itself_is_named(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(InputError, match=r"loop: cannot be written: "):
        install(tmp_path / "loop", WANTED, force=True)
