from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from infra.files import digest, rows
from schemas.errors import UsageError

TEXT = "id,when,x\na,2020-01-01,1.5\nb,2020-01-02,\n"
ROWS = [
    {"id": "a", "when": "2020-01-01", "x": "1.5", "#": "1"},
    {"id": "b", "when": "2020-01-02", "x": "", "#": "2"},
]


def written(tmp_path: Path, name: str, content: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rejected(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        list(rows(path))
    message = str(caught.value)
    assert str(path) in message  # a person must know which file it was
    assert "\n" not in message
    return message.replace(str(path), "FILE")


def test_csv_compressed_csv_and_parquet_say_the_same(tmp_path: Path) -> None:
    plain = written(tmp_path, "data.csv", TEXT)
    packed = written(tmp_path, "data.csv.gz", gzip.compress(TEXT.encode()))
    table = pyarrow.table({"id": ["a", "b"], "when": ["2020-01-01", "2020-01-02"], "x": [1.5, None]})
    parquet.write_table(table, tmp_path / "data.parquet")
    assert list(rows(plain)) == list(rows(packed)) == list(rows(tmp_path / "data.parquet")) == ROWS


def test_what_spreadsheets_write_is_read(tmp_path: Path) -> None:
    text = '\ufeffid,when,x\r\na,"2020-01-01","1,5"\r\n"b\nb",é,\r\n'
    assert list(rows(written(tmp_path, "data.csv", text))) == [
        {"id": "a", "when": "2020-01-01", "x": "1,5", "#": "1"},
        {"id": "b\nb", "when": "é", "x": "", "#": "2"},
    ]


def test_parquets_types_become_cells(tmp_path: Path) -> None:
    table = pyarrow.table(
        {
            "whole": [1, None],
            "number": [0.1, float("nan")],
            "yes": [True, False],
            "when": pyarrow.array([0, 86_400_000], pyarrow.timestamp("ms")),
        }
    )
    parquet.write_table(table, tmp_path / "data.parquet")
    assert list(rows(tmp_path / "data.parquet")) == [
        {"whole": "1", "number": "0.1", "yes": "True", "when": "1970-01-01 00:00:00", "#": "1"},
        {"whole": "", "number": "", "yes": "False", "when": "1970-01-02 00:00:00", "#": "2"},
    ]


def test_rows_are_read_one_by_one(tmp_path: Path) -> None:
    reading = rows(written(tmp_path, "data.csv", TEXT + "only one cell\n"))
    assert [next(reading), next(reading)] == ROWS
    with pytest.raises(UsageError, match="row 3: its number of cells differs from the header's"):
        next(reading)


@pytest.mark.parametrize("row", ["c", "c,d", "c,d,e,f"])
def test_a_row_with_another_number_of_cells_is_rejected(tmp_path: Path, row: str) -> None:
    message = rejected(written(tmp_path, "data.csv", TEXT + row + "\n"))
    assert message == "FILE, row 3: its number of cells differs from the header's"


def test_a_file_that_is_not_there_or_of_no_known_kind(tmp_path: Path) -> None:
    assert rejected(tmp_path / "data.csv") == "data file FILE does not exist"
    (tmp_path / "folder.csv").mkdir()
    assert rejected(tmp_path / "folder.csv") == "data file FILE does not exist"
    assert (
        rejected(written(tmp_path, "data.xlsx", ""))
        == "FILE: a data file must end in .csv, .csv.gz or .parquet"
    )


@pytest.mark.parametrize("name", ["data.csv", "data.csv.gz"])
def test_an_empty_file(tmp_path: Path, name: str) -> None:
    content = gzip.compress(b"") if name.endswith(".gz") else b""
    assert rejected(written(tmp_path, name, content)) == "FILE is empty: it needs a header and rows"


def test_a_header_that_names_a_column_twice(tmp_path: Path) -> None:
    assert rejected(written(tmp_path, "data.csv", "id,x,id\na,1,b\n")) == "FILE: the header names id twice"


def test_every_way_in_which_a_compressed_file_can_be_damaged(tmp_path: Path) -> None:
    whole = gzip.compress(b"id,x\n" + b"".join(b"%d,%d\n" % (n, n * n) for n in range(500)))
    for size in range(1, len(whole), 7):  # cut short
        assert "cannot be read" in rejected(written(tmp_path, "data.csv.gz", whole[:size]))
    failed = 0
    for at in range(0, len(whole), 11):  # one byte wrong: rejected, unless it is one that says nothing
        damaged = bytearray(whole)
        damaged[at] ^= 0xFF
        path = written(tmp_path, "data.csv.gz", bytes(damaged))
        try:
            list(rows(path))
        except UsageError:
            failed += 1
    assert failed > len(range(0, len(whole), 11)) * 0.9
    assert "cannot be read" in rejected(written(tmp_path, "data.csv.gz", TEXT))


def test_a_damaged_parquet_file(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    parquet.write_table(pyarrow.table({"x": list(range(1000))}), path)
    whole = path.read_bytes()
    for content in (b"", b"PAR1", TEXT.encode(), whole[:-10], whole[: len(whole) // 2]):
        assert "cannot be read" in rejected(written(tmp_path, "data.parquet", content))


def test_text_that_is_not_utf_8(tmp_path: Path) -> None:
    assert "cannot be read" in rejected(written(tmp_path, "data.csv", "id,x\nMünchen,1\n".encode("latin-1")))


def test_a_cell_longer_than_csv_allows(tmp_path: Path) -> None:
    assert "cannot be read" in rejected(written(tmp_path, "data.csv", "id\n" + "x" * 200_000 + "\n"))


def test_the_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    path = written(tmp_path, "data.csv", TEXT)
    assert digest(path) == hashlib.sha256(TEXT.encode()).hexdigest()
