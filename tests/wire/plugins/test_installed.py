"""Plug-ins given as objects: who has them, for how long, and what is refused."""
# ruff: noqa: E501 - a table of cases: the object, and the exact message beside it

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from tests import plugin_objects
from tests.plugin_objects import BigEndian, Steps
from wire.errors import InputError
from wire.plugins.installed import (
    VARIABLE,
    Objects,
    child_environment,
    find_missing,
    find_plugins,
    list_changed,
    list_plugins,
    use_plugins,
)
from wire.plugins.plugin import Plugin, PluginKind, PluginUse, source_sha256

OBJECTS: Objects = {"memory": {"steps": Steps}, "codecs": {"big_endian": "tests.plugin_objects:BigEndian"}}


def test_objects_are_plugins_while_the_block_runs_and_in_processes_that_it_starts() -> None:
    before = dict(os.environ)
    with use_plugins(OBJECTS), use_plugins({"memory": {"steps": Steps}}):
        (steps,) = find_plugins(PluginKind.MEMORY, "steps")
        (codec,) = list_plugins(PluginKind.CODEC)
        assert (steps.package, steps.load(), codec.load()) == ("tests", Steps, BigEndian)
        assert steps.version.startswith("source ")
        program = (
            "from wire.plugins.installed import list_plugins\n"
            "from wire.plugins.plugin import PluginKind\n"
            "print(*[plugin.value for kind in PluginKind for plugin in list_plugins(kind)])"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["tests.plugin_objects:Steps", "tests.plugin_objects:BigEndian"]
    assert dict(os.environ) == before
    assert not find_plugins(PluginKind.MEMORY, "steps")


def test_objects_stay_without_a_block_and_a_block_ends_its_own_only() -> None:
    stays = use_plugins({"memory": {"steps": Steps}})
    with use_plugins({"memory": {"steps": Steps}}):
        pass
    assert find_plugins(PluginKind.MEMORY, "steps")
    with stays:
        pass
    assert not find_plugins(PluginKind.MEMORY, "steps")


def test_a_program_that_is_started_finds_the_modules_of_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script in another folder than the working folder has its own folder in its path, and nobody else has."""
    (tmp_path / "peel_policy.py").write_text("def order(candidates, rng): return range(7)\n")
    monkeypatch.syspath_prepend(tmp_path)
    program = (
        "from cloud.blocks.selection import POLICY_PLUGINS; print(POLICY_PLUGINS.find('mine')(None, None))"
    )
    with use_plugins({"policies": {"mine": "peel_policy:order"}}):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=child_environment(),
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout == "range(0, 7)\n"
    assert child_environment() == dict(os.environ)


class Local:
    """A class whose module says another name than its own."""


Local.__module__ = "__main__"


@pytest.mark.parametrize(
    ("objects", "line"),
    [
        ({"memories": {"steps": Steps}}, "plugins['memories'] must be one of memory, faults, actions, codecs, "
         "policies, loaders, backbones, metrics, trace_importers"),
        ({"memory": {"my steps": Steps}}, "plugins: the name 'my steps' must be letters, digits, '_' and '-'"),
        ({"memory": {"steps": "Steps"}}, "plugins['memory']['steps'](='Steps') must be module:attribute"),
        ({"memory": {"steps": 3}}, "plugins['memory']['steps'] must be a class, a function, or the text "
         "module:attribute"),
        ({"memory": {"steps": Local}}, "plugins['memory']['steps'](=Local) must be at the top of a module that "
         "other processes can import, not in a script or a notebook"),
        ({"policies": {"mine": lambda *_: None}}, "plugins['policies']['mine'](=<lambda>) must be at the top of a "
         "module that other processes can import, not in a function"),
        ({"policies": {"mine": os.path.join}}, None),
        ({"policies": {"mine": type("Other", (), {"__module__": "os"})}}, "plugins['policies']['mine'] must be "
         "what other processes import as os:Other"),
    ],
)  # fmt: skip
def test_what_another_process_could_not_import_is_refused(
    objects: dict[str, dict[str, object]], line: str | None
) -> None:
    if line is None:
        with use_plugins(objects):
            return
    with pytest.raises(InputError) as refused, use_plugins(objects):
        pass
    assert str(refused.value) == line
    assert VARIABLE not in os.environ


@pytest.mark.parametrize("text", ["steps=tests:Steps", "memory.steps=tests", "towers.steps=tests:Steps"])
def test_a_damaged_variable_is_one_line(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(
        InputError, match=rf"^PEELFLEET_PLUGINS: '{text}' must be kind\.name=module:attribute; "
    ):
        list_plugins(PluginKind.MEMORY)


def test_an_installed_package_is_named_by_its_version() -> None:
    with use_plugins({"policies": {"mine": "msgspec:convert"}}):
        (plugin,) = find_plugins(PluginKind.POLICY, "mine")
    assert str(plugin) == f"selection policy 'mine' of msgspec {metadata.version('msgspec')}"


def test_uses_are_missing_or_changed() -> None:
    with use_plugins(OBJECTS):
        (steps,) = find_plugins(PluginKind.MEMORY, "steps")
        use = steps.use()
        assert use == PluginUse(
            kind="memory", name="steps", package="tests", version=steps.version, sha256=source_sha256("tests")
        )
        old = PluginUse(kind="memory", name="steps", package="tests", version="0.1", sha256="0")
        edited = PluginUse(**{**{name: getattr(use, name) for name in use.__struct_fields__}, "sha256": "0"})
        other = PluginUse(kind="memory", name="steps", package="another", version="0.1", sha256="0")
        later = PluginUse(kind="weather", name="rain", package="tests", version="0.1", sha256="0")
        assert find_missing([use, old, edited]) is None
        assert find_missing([use, other]) == other
        assert find_missing([use, later]) == later
        assert list(list_changed([use, old, edited, other, later])) == [
            f"memory process 'steps' of tests 0.1: installed is {steps.version}",
            f"memory process 'steps' of tests {steps.version}: installed is the same version with other code",
        ]
    assert find_missing([use]) == use
    assert str(later) == "weather 'rain' of tests 0.1"


def test_a_plugin_that_cannot_be_imported_is_one_line() -> None:
    plugin = Plugin(PluginKind.FAULT, "fog", "tests", "1.0", f"{plugin_objects.__name__}:Rain")
    with pytest.raises(InputError) as refused:
        plugin.load()
    assert str(refused.value) == (
        "fault 'fog' of tests 1.0: cannot be imported: AttributeError: module 'tests.plugin_objects' has no "
        "attribute 'Rain'"
    )
