"""Titles of items: read where data sets have them, in their encodings, and nothing is trained on them."""

from pathlib import Path

import pytest

from cloud.data.load import load
from cloud.data.sources import LightGCN, MovieLens, RecBole, Synthetic, Table
from cloud.data.titles import read_titles
from wire.errors import InputError

AMELIE = "Fabuleux destin d'Amélie Poulain, Le (2001)"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("movies.dat", f"1::Toy Story (1995)::Animation\n7::{AMELIE}::Comedy|Romance\n".encode("latin-1")),
        ("movies.dat", f"1::Toy Story (1995)::Animation\n7::{AMELIE}::Comedy|Romance\n".encode()),
        ("u.item", f"1|Toy Story (1995)|01-Jan-1995||url|0|1\n7|{AMELIE}|||url|0|0\n".encode("latin-1")),
        ("movies.csv", f'movieId,title,genres\n1,Toy Story (1995),Animation\n7,"{AMELIE}",Comedy\n'.encode()),
    ],
    ids=["latin-1", "utf-8", "u.item", "csv"],
)
def test_films_have_the_titles_of_their_data_set(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    ratings = tmp_path / "ratings.dat"
    for data in (MovieLens(path=str(tmp_path)), MovieLens(path=str(ratings))):
        assert read_titles(data) == {"1": "Toy Story (1995)", "7": AMELIE}


def test_a_file_of_items_of_recbole_has_titles_by_its_header(tmp_path: Path) -> None:
    (tmp_path / "x.inter").write_text("user_id:token\tartist_id:token\nu\t3\n")
    items = tmp_path / "x.item"
    items.write_text("artist_id:token\turl:token\tartist_name:token_seq\n3\thttp://a\tBjörk\n4\thttp://b\t\n")
    data = RecBole(path=str(tmp_path), item="artist_id")
    assert read_titles(data) == {"3": "Björk"}
    items.write_text("artist_id:token\turl:token\n3\thttp://a\n")
    assert read_titles(data) == {}


def test_a_column_of_a_table_has_titles(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text("user,item,film\na,1,Ran\nb,1,Ran (1985)\nb,2,\nc,3,七人の侍\n", encoding="utf-8")
    data = Table(path=str(file), title="film")
    assert read_titles(data) == {"1": "Ran", "3": "七人の侍"}
    assert load(data).digest() == load(Table(path=str(file))).digest()  # so the model is the same
    with pytest.raises(InputError, match="no column 'titel'"):
        read_titles(Table(path=str(file), title="titel"))
    file.write_text("a,1,Ran\nb,2,Ikiru\n")
    assert read_titles(Table(path=str(file), header=False, title=3)) == {"1": "Ran", "2": "Ikiru"}


def test_other_data_have_none(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n")
    folder = str(tmp_path)
    for data in (Synthetic(), LightGCN(path=folder), MovieLens(path=folder), RecBole(path=folder)):
        assert read_titles(data) == {}
