"""``peelfleet signing-key``: a pair of keys for signatures of the cloud."""

import errno
import os
from pathlib import Path
from typing import Annotated

import typer

from broker_config.file_modes import write_open, write_secret
from wire.errors import InputError
from wire.signing_keys import new_key_pair


def signing_key(
    file: Annotated[Path, typer.Argument(help="The new file of the private key.", show_default=False)],
) -> None:
    """Make a pair of keys: FILE for `cloud --signing-key`, FILE.pub for `agent --public-key`."""
    public = file.with_name(f"{file.name}.pub")
    for path in (file, public):
        if path.exists() or path.is_symlink():
            raise InputError(f"{path}: is there already: name a new file")
    if not file.parent.is_dir():
        raise InputError(f"{file.parent}: {os.strerror(errno.ENOENT)}")
    pair = new_key_pair()
    write_secret(file, pair.private)
    write_open(public, pair.public)
    typer.echo(f"{file}: the private key: only the cloud's machine needs it")
    typer.echo(f"{public}: the public key: give it to every device")
