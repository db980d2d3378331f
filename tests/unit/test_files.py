from __future__ import annotations

import gzip
import hashlib
import tracemalloc
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from infra.datafiles.rows import KINDS, FileForm, digest_of, rows
from infra.files import digest
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
    with pytest.raises(UsageError, match="line 4: the row has 1 cell"):
        next(reading)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("c", "the row has 1 cell(s), the header 3: when, x missing; add them, empty where nothing is known"),
        ("c,d", "the row has 2 cell(s), the header 3: x missing; add them, empty where nothing is known"),
        (
            "c,d,e,f,g",
            "the row has 5 cell(s), the header 3: 'f', 'g' too many; put cells that contain a comma in "
            "quotation marks",
        ),
    ],
)
def test_a_row_with_another_number_of_cells_is_rejected(tmp_path: Path, row: str, reason: str) -> None:
    text = TEXT + '"two\nlines",d,e\n\n'  # two lines for one row, and an empty line that is none
    assert rejected(written(tmp_path, "data.csv", f"{text}{row}\n")) == f"FILE, line 7: {reason}"


def test_a_file_that_is_not_there_or_of_no_known_kind(tmp_path: Path) -> None:
    assert rejected(tmp_path / "data.csv") == "data file FILE does not exist"
    assert rejected(written(tmp_path, "data.xlsx", "")) == f"FILE: {KINDS}; save the sheet as CSV"
    assert rejected(written(tmp_path, "data", "")) == f"FILE: {KINDS}"
    assert rejected(written(tmp_path, "data.parquet.gz", "")) == f"FILE: {KINDS}"


@pytest.mark.parametrize("name", ["data.csv", "data.csv.gz"])
def test_an_empty_file(tmp_path: Path, name: str) -> None:
    content = gzip.compress(b"") if name.endswith(".gz") else b""
    assert rejected(written(tmp_path, name, content)) == "FILE is empty: it needs a header and rows"


def test_a_header_that_names_a_column_twice(tmp_path: Path) -> None:
    assert rejected(written(tmp_path, "data.csv", "id,x,id\na,1,b\n")) == (
        "FILE, line 1: the header names id twice; rename or remove one of them"
    )


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
    path = written(tmp_path, "data.csv", "id,x\na,1\nMünchen,1\n".encode("latin-1"))
    assert rejected(path) == (
        "FILE, line 3, column 'id': b'M\\xfcnchen' is not UTF-8; set encoding='cp1252' in DataFile(...), with "
        "which it reads 'München'"
    )
    assert [row["id"] for row in rows(path, FileForm(encoding="latin-1"))] == ["a", "München"]
    path = written(tmp_path, "data.csv", b"id,x\n\x81,1\n")  # which is nothing in cp1252 either
    assert rejected(path).endswith(r"b'\x81' is not UTF-8; set encoding= in DataFile(...)")
    with pytest.raises(UsageError, match=r"line 2, column 'id': b'\\x81' is not cp1252"):
        list(rows(path, FileForm(encoding="cp1252")))


def test_a_cell_longer_than_csv_allows(tmp_path: Path) -> None:
    assert rejected(written(tmp_path, "data.csv", 'id\na\n"' + "x" * 200_000 + "\n")) == (
        "FILE, line 3: field larger than field limit (131072); a quotation mark may be open"
    )


@pytest.mark.parametrize(
    ("rows_", "reason"),
    [
        ('a,"1\nb,2\n', "line 2: unexpected end of data; a quotation mark may be open"),
        (
            'a,"1\nb,"2"\n',
            "line 2: ',' expected after '\"'; within a cell in quotation marks each of them must be doubled",
        ),
    ],
)
def test_an_open_quotation_mark_swallows_no_rows(tmp_path: Path, rows_: str, reason: str) -> None:
    assert rejected(written(tmp_path, "data.csv", f"id,x\n{rows_}")) == f"FILE, {reason}"


def test_the_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    path = written(tmp_path, "data.csv", TEXT)
    assert digest(path) == hashlib.sha256(TEXT.encode()).hexdigest()
    assert digest_of(path) == digest(path)


# ---------------------------------------------------------------------- found forms


@pytest.mark.parametrize(
    ("text", "name", "notes"),
    [
        ("id,when,x\na,2020-01-01,1\n", "data.csv", []),
        ("id;when;x\na;2020-01-01;1\n", "data.csv", ["data.csv: the delimiter is a semicolon"]),
        ("id\twhen\tx\na\t2020-01-01\t1\n", "data.txt", ["data.txt: the delimiter is a tab"]),
        ("id\twhen\tx\na\t2020-01-01\t1\n", "data.TSV", []),
        ("id|when|x\na|2020-01-01|1\n", "data.csv", ["data.csv: the delimiter is '|'"]),
        ("id, when, x\na, 2020-01-01, 1\n", "data.csv", []),
        ("\n\nid,when,x\r\n\r\na,2020-01-01,1\r\n", "data.csv", []),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_delimiter_spaces_and_marks_of_the_encoding_are_found(
    tmp_path: Path, text: str, name: str, notes: list[str], encoding: str
) -> None:
    found: list[str] = []
    path = written(tmp_path, name, text.encode(encoding))
    assert list(rows(path, note=found.append)) == [{"id": "a", "when": "2020-01-01", "x": "1", "#": "1"}]
    assert found == notes


def test_the_tasks_columns_decide_between_delimiters(tmp_path: Path) -> None:
    path = written(tmp_path, "data.csv", "a;b,c;d,e\n1;2,3;4,5\n")
    assert list(rows(path)) == [{"a;b": "1;2", "c;d": "3;4", "e": "5", "#": "1"}]
    assert list(rows(path, FileForm(needed=("b,c",)))) == [{"a": "1", "b,c": "2,3", "d,e": "4,5", "#": "1"}]
    assert list(rows(path, FileForm(delimiter="|"))) == [{"a;b,c;d,e": "1;2,3;4,5", "#": "1"}]


def test_decimal_commas_do_not_hide_a_semicolon(tmp_path: Path) -> None:
    path = written(tmp_path, "data.csv", "id;x\na;1,5\nb;2,5\n")
    assert [row["x"] for row in rows(path)] == ["1,5", "2,5"]


# ---------------------------------------------------------------------- JSON lines


def test_json_lines_become_cells_with_their_digits(tmp_path: Path) -> None:
    text = '{"id": "a", "x": 0.10, "yes": true}\n\n{"id": 2, "x": null, "tags": [1, {"b": 2.5}]}\n'
    text += '{"id": "c", "x": NaN}\n'
    expected = [
        {"id": "a", "x": "0.10", "yes": "true", "tags": "", "#": "1"},
        {"id": "2", "x": "", "yes": "", "tags": '[1, {"b": 2.5}]', "#": "2"},
        {"id": "c", "x": "", "yes": "", "tags": "", "#": "3"},
    ]
    assert list(rows(written(tmp_path, "data.jsonl", text))) == expected
    assert list(rows(written(tmp_path, "data.ndjson.gz", gzip.compress(text.encode())))) == expected


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "no JSON: Expecting property name enclosed in double quotes"),
        ("[1]", 'a list, not an object such as {"id": 1}'),
        ('{"id": 1, "id": 2}', "key 'id' stands there twice; remove one of them"),
        ("[" * 100_000, "no JSON: "),
    ],
)
def test_a_line_that_is_no_object_is_rejected(tmp_path: Path, line: str, reason: str) -> None:
    message = rejected(written(tmp_path, "data.jsonl", '{"id": 1}\n' + line + "\n"))
    assert message.startswith(f"FILE, line 2: {reason}")


def test_a_key_that_comes_late_is_refused_and_text_must_be_utf_8(tmp_path: Path) -> None:
    late = '{"id": 1}\n' * 1000 + '{"id": 2, "y": 3}\n'
    assert rejected(written(tmp_path, "data.jsonl", late)) == (
        "FILE, line 1001: key 'y' is in none of the first 1,000 rows; write it into the first row, with null where "
        "it is missing"
    )
    message = rejected(written(tmp_path, "data.jsonl", '{"id": "Köln"}'.encode("latin-1")))
    assert "line 1: " in message
    assert "set encoding='cp1252'" in message
    assert rejected(written(tmp_path, "data.jsonl", "\n")) == "FILE is empty: it needs an object in each line"


# ---------------------------------------------------------------------- Parquet


def parquet_of(tmp_path: Path, columns: dict[str, Any], **options: Any) -> Path:
    path = tmp_path / "data.parquet"
    parquet.write_table(pyarrow.table(columns), path, **options)
    return path


def test_binary_text_is_text(tmp_path: Path) -> None:
    binary = pyarrow.array([b"DE", "Köln".encode(), None], pyarrow.binary())
    path = parquet_of(tmp_path, {"c": binary, "d": binary.dictionary_encode()})
    assert [(row["c"], row["d"]) for row in rows(path)] == [("DE", "DE"), ("Köln", "Köln"), ("", "")]


def test_binary_that_is_no_text_is_refused_where_the_task_reads_it(tmp_path: Path) -> None:
    path = parquet_of(tmp_path, {"c": pyarrow.array([b"a", b"K\xf6ln"], pyarrow.binary())})
    assert [row["c"] for row in rows(path)] == ["a", "4bf66c6e"]
    with pytest.raises(UsageError) as caught:
        list(rows(path, FileForm(needed=("c",))))
    assert str(caught.value) == (
        f"{path}, row 2, column 'c', cell b'K\\xf6ln': BINARY that is not UTF-8 text; set encoding= in "
        "DataFile(...), or write the column as text"
    )
    assert [row["c"] for row in rows(path, FileForm(encoding="latin-1", needed=("c",)))] == ["a", "Köln"]


def test_nanoseconds_are_cut_with_a_sentence(tmp_path: Path) -> None:
    nanoseconds = pyarrow.timestamp("ns", "UTC")
    path = parquet_of(tmp_path, {"t": pyarrow.array([1_000, 1_999, None] * 5_000, nanoseconds)})
    notes: list[str] = []
    cells = [row["t"] for row in rows(path, note=notes.append)]
    assert cells[:3] == ["1970-01-01 00:00:00.000001+00:00", "1970-01-01 00:00:00.000001+00:00", ""]
    assert notes == [
        "data.parquet: column 't' has times finer than a microsecond, which are cut: event times are milliseconds"
    ]
    path = parquet_of(tmp_path, {"t": pyarrow.array([1_000], nanoseconds)})
    assert [row["t"] for row in rows(path, note=notes.append)] == ["1970-01-01 00:00:00.000001+00:00"]
    assert len(notes) == 1


def test_other_types_of_parquet_and_what_python_cannot_hold(tmp_path: Path) -> None:
    columns = {
        "day": pyarrow.array([19_724], pyarrow.date32()),
        "price": pyarrow.array([Decimal("1.50")], pyarrow.decimal128(5, 2)),
        "level": pyarrow.array(["DE"]).dictionary_encode(),
        "tags": pyarrow.array([["a", "b"]]),
        "where": pyarrow.array([{"x": 1}]),
    }
    assert list(rows(parquet_of(tmp_path, columns))) == [
        {
            "day": "2024-01-02",
            "price": "1.50",
            "level": "DE",
            "tags": '["a", "b"]',
            "where": '{"x": 1}',
            "#": "1",
        }
    ]
    far = pyarrow.array([0, 2**60], pyarrow.timestamp("ms"))
    message = rejected(parquet_of(tmp_path, {"t": far}))
    assert message.startswith("FILE, row 2, column 't': ")
    assert message.endswith("; Python cannot hold it, so write the column as text")


def test_memory_does_not_grow_with_a_row_group(tmp_path: Path) -> None:
    count = 1_000_000
    numbers = pyarrow.array(range(count))
    path = parquet_of(tmp_path, {"x": numbers, "y": numbers}, row_group_size=count, use_dictionary=False)
    before = pyarrow.total_allocated_bytes()
    tracemalloc.start()
    reading = rows(path)
    for _ in range(3 * 4_096):
        next(reading)
    arrow, python = pyarrow.total_allocated_bytes() - before, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert arrow < 8 * count  # one column of the group alone has as many bytes
    assert python < 8 * count


# ---------------------------------------------------------------------- folders


def test_the_files_of_a_folder_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "orders"
    folder.mkdir()
    written(folder, "b.csv", "id,x\nc,3\n")
    written(folder, "a.csv", "x,id\n1,a\n2,b\n")
    written(folder, "_SUCCESS", "")
    written(folder, ".a.csv.crc", "?")
    found = list(rows(folder))
    assert [(row["id"], row["#"], row.place) for row in found] == [
        ("a", "1", f"{folder}/a.csv, line 2"),
        ("b", "2", f"{folder}/a.csv, line 3"),
        ("c", "3", f"{folder}/b.csv, line 2"),
    ]
    before = digest_of(folder)
    written(folder, "b.csv", "id,x\nc,4\n")
    assert digest_of(folder) != before


def test_a_folder_that_cannot_be_one_table_is_rejected(tmp_path: Path) -> None:
    folder = tmp_path / "orders"
    folder.mkdir()
    assert rejected(folder) == f"FILE: the folder has no data files; {KINDS}"
    written(folder, "a.csv", "id,x\na,1\n")
    written(folder, "b.csv", "id,y\nb,2\n")
    assert rejected(folder) == (
        "FILE/b.csv, line 2: the columns differ from those of the first file: x, y; all files of a folder must "
        "have the same columns"
    )
    written(folder, "notes.md", "")
    assert rejected(folder) == f"FILE/notes.md: {KINDS}"
    (folder / "country=DE").mkdir()
    assert rejected(folder) == "FILE: the folder country=DE is in it; put the data files side by side"
