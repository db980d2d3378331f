"""The forms of a file of scores: CSV and Parquet, each written in parts that are joined at the end."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, Protocol

from schemas.errors import UsageError
from streams.batch_scoring import ScoredRow

SUFFIXES: Final = (".parquet", ".csv")


class Form(Protocol):
    """A form of the file; equal rows and parts give equal bytes."""

    def write_part(self, file: IO[bytes], rows: Sequence[ScoredRow]) -> None:
        """Write a part that `join` reads."""

    def join(self, file: IO[bytes], parts: Iterable[Path]) -> None:
        """Write the whole file from its parts, one at a time."""


def form_of(target: Path, kind: str, about: Mapping[str, str]) -> Form:
    """Return the form that a file's name asks for.

    Parameters
    ----------
    kind
        The task's: it says which type scores and labels have.
    about
        What a Parquet file says of itself in its metadata.

    Raises
    ------
    UsageError
        The name ends otherwise, or pyarrow is missing.
    """
    suffix = target.suffix.lower()
    if suffix == ".csv":
        return CsvForm()
    if suffix == ".parquet":
        return ParquetForm(kind, about)
    raise UsageError(f"{target}: the name of the file must end in {' or '.join(SUFFIXES)}")


class CsvForm:
    """Delimited text, UTF-8: numbers with all digits that they need, what is missing as the empty cell."""

    def write_part(self, file: IO[bytes], rows: Sequence[ScoredRow]) -> None:
        """See `Form.write_part`."""
        file.write(_lines([_cells(row) for row in rows]))

    def join(self, file: IO[bytes], parts: Iterable[Path]) -> None:
        """See `Form.join`."""
        file.write(_lines([ScoredRow._fields]))
        for part in parts:
            with part.open("rb") as source:
                shutil.copyfileobj(source, file, 1024 * 1024)


def _lines(rows: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _cells(row: ScoredRow) -> tuple[Any, ...]:
    score: Any = row.score
    if isinstance(score, Mapping):
        score = json.dumps(dict(score), ensure_ascii=False)
    elif score is not None:
        score = repr(float(score))
    label = row.label
    if not isinstance(label, str):
        label = "" if label is None else "true" if label else "false"
    return (row.request_id, row.ts, row.version, "" if score is None else score, label, row.failure)


class ParquetForm:
    """Parquet: a row group for each part; what is missing is null."""

    def __init__(self, kind: str, about: Mapping[str, str]) -> None:
        try:
            import pyarrow  # noqa: PLC0415  an extra, and slow to import
            from pyarrow import parquet  # noqa: PLC0415
        except ImportError:
            raise UsageError("Parquet files need the extra: pip install 'riverloop[parquet]'") from None
        self._arrow, self._parquet = pyarrow, parquet
        number, text = pyarrow.float64(), pyarrow.string()
        self._multiclass = kind == "multiclass"
        label = pyarrow.bool_() if kind == "binary" else text
        types = {
            "request_id": text,
            "ts": pyarrow.int64(),
            "version": text,
            "score": pyarrow.map_(text, number) if self._multiclass else number,
            "label": label,
            "failure": text,
        }
        fields = [pyarrow.field(name, types[name], name in {"score", "label", "failure"}) for name in types]
        metadata = {f"riverloop.{name}": value for name, value in about.items()}
        self._schema = pyarrow.schema(fields, metadata)

    def write_part(self, file: IO[bytes], rows: Sequence[ScoredRow]) -> None:
        """See `Form.write_part`."""
        columns: dict[str, list[Any]] = {name: [] for name in ScoredRow._fields}
        for row in rows:
            for name, value in zip(ScoredRow._fields, row, strict=True):
                columns[name].append(value)
        columns["failure"] = [each or None for each in columns["failure"]]
        columns["score"] = [self._score(each) for each in columns["score"]]
        table = self._arrow.table(columns, schema=self._schema)
        with self._parquet.ParquetWriter(file, self._schema) as writer:
            writer.write_table(table, row_group_size=max(len(rows), 1))

    def _score(self, score: Any) -> Any:
        if score is None:
            return None
        return list(score.items()) if self._multiclass else float(score)

    def join(self, file: IO[bytes], parts: Iterable[Path]) -> None:
        """See `Form.join`."""
        with self._parquet.ParquetWriter(file, self._schema) as writer:
            for part in parts:
                table = self._parquet.read_table(part, use_threads=False)
                writer.write_table(table, row_group_size=max(table.num_rows, 1))
