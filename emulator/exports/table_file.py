"""Tables as files: CSV and Parquet have all columns, LaTeX and Markdown what is printed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from emulator.exports.printed_table import PrintedTable
from wire.errors import InputError
from wire.output_files import atomic_file, naming

ENDINGS: Final = (".csv", ".parquet", ".tex", ".md")
_LATEX_HEAD: Final = "% needs \\usepackage{booktabs}\n"


def check_table_file(file: Path) -> None:
    """Check the ending of *file*.

    Raises:
        InputError: it is none of a table.
    """
    if file.suffix.lower() not in ENDINGS:
        raise InputError(f"{file}: a table must end in {', '.join(ENDINGS)}")


def write_table(tidy: pa.Table, printed: Sequence[PrintedTable], file: Path) -> None:
    """Write a table to *file*, whole or not at all.

    Args:
        tidy: all rows and columns, for `.csv` and `.parquet`.
        printed: the tables for people, for `.tex` and `.md`.
        file: its ending decides.

    Raises:
        InputError: the ending is none of a table.
        OSError: it cannot be written.
    """
    check_table_file(file)
    with naming(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(file) as draft:
            match file.suffix.lower():
                case ".csv":
                    with draft.open("wb") as opened:
                        pc.write_csv(tidy, opened)
                case ".parquet":
                    with draft.open("wb") as opened:
                        pq.write_table(tidy, opened, compression="zstd")
                case ".tex":
                    latex = "\n".join(table.latex() for table in printed)
                    draft.write_text(_LATEX_HEAD + latex, encoding="utf-8")
                case _:
                    draft.write_text("\n".join(table.markdown() for table in printed), encoding="utf-8")
