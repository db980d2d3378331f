"""Check an export of `riverloop audit export` without riverloop: python check_audit.py EXPORT [CHECKPOINT]."""

import hashlib
import json
import sys
from pathlib import Path


def canonical(value: object) -> bytes:
    """Return canonical JSON after RFC 8785; keys are sorted by their UTF-16 code units."""

    def ordered(part: object) -> object:
        if isinstance(part, dict):
            return {key: ordered(part[key]) for key in sorted(part, key=lambda k: k.encode("utf-16-be"))}
        return [ordered(each) for each in part] if isinstance(part, list) else part

    return json.dumps(ordered(value), ensure_ascii=False, separators=(",", ":")).encode()


def sha256(value: object) -> str:
    """Return the SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(canonical(value)).hexdigest()


def check(export: list[bytes], checkpoint: dict[str, object] | None = None) -> str:
    """Return the first thing that does not hold; empty when all does."""
    heads = ["0" * 64]
    for row, text in enumerate(export[:-1]):
        line = json.loads(text)
        if canonical(line) + b"\n" != text:
            return f"line {row + 1} is not in canonical form"
        stated = line.pop("hash", None)
        if line.get("number") != row or line.get("previous") != heads[-1] or sha256(line) != stated:
            return f"record {row} was altered, removed, moved or inserted"
        record = line["record"]
        is_link = record["record"] == "audit_link"  # the log's owner states the hash of the records before it
        if is_link and (not 0 < record["size"] <= row or heads[record["size"]] != record["head"]):
            return f"record {row} states another chain than the records before it"
        heads.append(stated)
    end = canonical({"end": {"head": heads[-1], "size": len(heads) - 1}}) + b"\n"
    if export[-1:] != [end]:
        return "the export does not end as its records do: lines were removed or added"
    if checkpoint is not None:
        size = checkpoint["size"]
        if not isinstance(size, int) or size >= len(heads) or heads[size] != checkpoint["head"]:
            return "the checkpoint covers another chain: records were removed, or the chain was rewritten"
    return ""


if __name__ == "__main__":
    lines = Path(sys.argv[1]).read_bytes().splitlines(keepends=True)
    found = check(lines, json.loads(Path(sys.argv[2]).read_bytes()) if len(sys.argv) > 2 else None)
    print(found or f"{len(lines) - 1} records, the chain is intact")
    sys.exit(bool(found))
