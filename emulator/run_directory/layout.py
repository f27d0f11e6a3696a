"""The run directory: it ends in ``.partial`` until the run has succeeded."""

import contextlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from emulator.run_directory.manifest import MANIFEST, add_entries, check_content
from emulator.run_directory.plugins_used import check_plugins
from emulator.run_directory.summary_types import find_mistake
from wire.errors import InputError, RunError, first_error
from wire.input_files import decode_json, read_at_most
from wire.output_files import naming, os_error_text, with_name

PARTIAL = ".partial"
PARTS = ".ranges"
"""Folder of the parts while ranges of devices are simulated."""
DRAFTS = ".shard-*"
"""Folders of the drafts of the event log while a fleet is simulated together; some stay empty."""
MOST_BYTES = 2**26
"""Largest accepted size of a summary, a scenario or another small file of a run directory."""
SCENARIO, SUMMARY, EVENTS, DEVICES, METRICS, REPORT = (
    "scenario.yaml",
    "summary.json",
    "events",
    "devices.parquet",
    "metrics.parquet",
    "report.html",
)


@dataclass
class RunDraft:
    """A run directory that is being written."""

    folder: Path
    final: Path
    kept: bool = False

    def keep(self) -> None:
        """Keep the directory from now on, even if the run fails: its content has cost time."""
        self.kept = True


@contextmanager
def new_run_directory(out: Path, name: str, seed: int, started: datetime) -> Iterator[RunDraft]:
    """Yield a new run directory to write to; it gets its final name if the block succeeds.

    Until the draft is kept, a wrong input removes it. After that any error is a failed run and leaves
    ``<name>.partial``.
    """
    try:
        new = not out.exists()
        draft = _create(out, f"{name}-{seed}-{started:%Y%m%dT%H%M%S}")
    except OSError as error:
        raise InputError(f"{out}: cannot make a run directory here: {error.strerror}") from None
    try:
        yield draft
    except InputError as error:
        if draft.kept:
            raise RunError(f"{error}; what the run has written is in {draft.folder}") from error
        shutil.rmtree(draft.folder, ignore_errors=True)
        if new:
            with contextlib.suppress(OSError):  # another run has written there meanwhile
                out.rmdir()
        raise
    except Exception as error:
        text = os_error_of(error)
        if draft.kept and text:
            raise RunError(f"{text}; what the run has written is in {draft.folder}") from error
        raise
    draft.folder.rename(draft.final)


def os_error_of(error: Exception) -> str | None:
    """Return the text of an error of the operating system, with the file; None for any other error."""
    first = first_error(error)
    return with_name(first) if isinstance(first, OSError) else None


def _create(out: Path, name: str) -> RunDraft:
    out.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, 1000):
        final = out / (name if attempt == 1 else f"{name}-{attempt}")
        folder = final.with_name(final.name + PARTIAL)
        if final.exists():
            continue
        try:
            folder.mkdir()
        except FileExistsError:  # another run started in the same second
            continue
        return RunDraft(folder, final)
    raise InputError(f"{out}: 1000 runs named {name}")


def write_summary(folder: Path, summary: dict[str, object]) -> None:
    """Write ``summary.json``, and add it to the manifest if there is one."""
    content = msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n"
    with naming(folder / SUMMARY):
        (folder / SUMMARY).write_bytes(content)
    add_entries(folder / MANIFEST, {SUMMARY: content})


def read_summary(folder: Path) -> dict[str, object]:
    """Return the summary of a run; all keys have the right types.

    Raises:
        InputError: *folder* is no run directory, or the summary was changed or is damaged.
    """
    path, damaged = folder / SUMMARY, "the run directory is damaged"
    try:
        content = read_at_most(path, MOST_BYTES, "the summary of a run")
    except OSError as error:
        raise InputError(f"{folder}: no run directory: {SUMMARY}: {os_error_text(error)}") from None
    check_content(folder, SUMMARY, content)
    try:
        summary = decode_json(content, dict[str, object])
    except ValueError as error:
        raise InputError(f"{path}: {damaged}: {error}") from None
    mistake = find_mistake(summary)
    if mistake is not None:
        raise InputError(f"{path}: {damaged}: {mistake}")
    return summary


def read_scenario(folder: Path, manifest: str = MANIFEST) -> str:
    """Return the text of a run's resolved scenario.

    Args:
        folder: of the run, or of a shard.
        manifest: name of the file with the checksums in that folder.

    Raises:
        InputError: the file is missing, was changed or is damaged, or a plug-in of the run is not installed.
    """
    path, damaged = folder / SCENARIO, "the run directory is damaged"
    check_plugins(folder, manifest)
    try:
        content = read_at_most(path, MOST_BYTES, "the scenario of a run")
    except OSError as error:
        raise InputError(f"{path}: {damaged}: {os_error_text(error)}") from None
    check_content(folder, SCENARIO, content, manifest)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: {damaged}: byte {error.start + 1} is not UTF-8 text") from None
