"""The wheel, installed outside the checkout, has all that it needs."""

import subprocess
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from tests.wheel_environment import build_wheel, make_environment


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("dist"))


def test_its_metadata_are_fit_for_publication(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        assert {"wire/py.typed", "peelfleet/py.typed"} <= set(archive.namelist())
        metadata = Parser().parsestr(archive.read(name).decode())
    assert (metadata["Name"], metadata["Requires-Python"]) == ("peelfleet", ">=3.11")
    assert (metadata["License-Expression"], metadata["License-File"]) == ("MIT", "LICENSE")
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert {"train", "fast", "ray"} <= set(metadata.get_all("Provides-Extra", []))


@pytest.mark.slow
def test_a_run_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    """A new environment has the wheel and the libraries; its folder is not in the checkout."""
    environment = tmp_path / "environment"
    packages = make_environment(wheel, environment)
    python = str(environment / "bin" / "python")

    def run(*args: str) -> str:
        done = subprocess.run(
            [python, *args], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert str(packages) in run("-c", "import emulator; print(emulator.__file__)")
    listed = run("-m", "emulator.cli", "scenarios")
    assert "quickstart" in listed
    out = run("-m", "emulator.cli", "run", "quickstart", "--clock", "virtual", "--out", "runs")
    assert "Passed. The fleet kept" in " ".join(out.split())
    (folder,) = (tmp_path / "runs").iterdir()
    run("-m", "emulator.cli", "report", str(folder))
    run("-m", "emulator.cli", "broker", "init", "broker", "--fleet", "f", "--host", "localhost")
