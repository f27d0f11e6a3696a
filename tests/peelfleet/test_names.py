"""The public names: sorted, documented, shown on the page, and there without a delay."""

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import peelfleet
from tests.pages import blocks

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


def test_the_public_names_are_sorted_and_all_that_dir_shows() -> None:
    assert peelfleet.__all__ == sorted(peelfleet.__all__)
    assert dir(peelfleet) == peelfleet.__all__
    with pytest.raises(AttributeError, match="module 'peelfleet' has no attribute 'runner'"):
        _ = peelfleet.runner


@pytest.mark.parametrize("name", peelfleet.__all__)
def test_a_public_name_has_a_docstring_and_stands_in_a_program_of_the_page(name: str) -> None:
    assert inspect.getdoc(getattr(peelfleet, name))
    programs = "\n".join(blocks(PAGE, "python"))
    assert re.search(rf"\bpf\.{name}\b", programs)


def test_the_import_loads_no_other_package() -> None:
    program = (
        "import sys, json; before = set(sys.modules); import peelfleet; "
        "print(json.dumps(sorted({name.split('.')[0] for name in set(sys.modules) - before})))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = json.loads(ended.stdout)
    assert [name for name in loaded if name not in sys.stdlib_module_names] == ["peelfleet"]
