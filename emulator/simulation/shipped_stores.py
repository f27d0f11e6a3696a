"""The stores that come with peelfleet, so that a scenario runs where nothing is installed that trains.

``make shipped-store`` trains them again. A test fails when the training code has changed since.
"""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from cloud.blocks.store_cache import TRAINING_CODE, TRAINING_ROOTS
from emulator.simulation.model_cache import SHIPPED, prepare_model
from scenarios.language.load import load, located
from wire.source_digest import digest_files, imported_modules

NAMES: Final = ("quickstart",)
"""The scenarios whose stores ship."""
CODE: Final = "code.sha256"


def code_sha256() -> str:
    """Return the hash of the code that decides the content of a store, without the libraries' versions."""
    return digest_files(imported_modules(TRAINING_ROOTS, within=TRAINING_CODE)).hex()


def write_shipped(folder: Path = SHIPPED) -> None:
    """Train the shipped stores and write them below *folder*, with the hash of the code that made them."""
    for name in NAMES:
        scenario = load(located(Path(name)), ())
        with tempfile.TemporaryDirectory() as root:
            model = prepare_model(scenario.data, scenario.model, Path(root), lambda *_: None)
            shutil.rmtree(folder / name, ignore_errors=True)
            shutil.copytree(model.folder, folder / name)
        sys.stdout.write(f"{folder / name}: model {model.store.version}\n")
    (folder / CODE).write_text(code_sha256() + "\n")


if __name__ == "__main__":
    write_shipped()
