"""What lies in a snapshot store is foreign: nothing there ends a worker, holds it up, or is read by mistake."""

from __future__ import annotations

import functools
import json
import os
import shutil
import socket
import stat
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest
from click.testing import CliRunner

from agents.cli.snapshots import snapshots
from infra.permissions import make_private, shared_because
from infra.snapshots.files import LocalFiles, RemoteFiles
from infra.snapshots.models import stored_manifests
from infra.snapshots.store import MANIFEST, PROBES, STATE, SnapshotStore
from schemas.codec import Codec
from schemas.dictionary import Dictionary, Number
from schemas.errors import SnapshotError, UsageError
from schemas.examples import examples
from schemas.records import Manifest
from tests.unit.test_snapshots_command import TASK_FILE

# A FIFO that is opened without care is waited for without end.
pytestmark = pytest.mark.timeout(60)

KEY = b"a key of sixteen characters and more"
TASK, OLD, NEW = "listed", "champion.1@1000", "champion.1@2000"
STATE_BYTES = b"a state" * 50
ASKED: list[dict[str, Any]] = [{"features": {"x": 1.0}, "score": 0.5, "label": True}]


def names_in(path: Path) -> list[str]:
    return sorted(each.name for each in path.iterdir())


@functools.cache
def example() -> Manifest:
    made = examples(Codec(TASK, "binary", Dictionary(Number(name="x"))))["Manifest"]
    assert isinstance(made, Manifest)
    return made


def manifest_at(version: str) -> Manifest:
    offset = int(version.rpartition("@")[2])
    return replace(example(), version=version, log_offset=offset, next_offset=offset + 1)


def fill(store: SnapshotStore) -> None:
    for version in (OLD, NEW):
        store.save(manifest_at(version), STATE_BYTES, ASKED)


def usable(store: SnapshotStore) -> list[str]:
    """The versions that a starting worker can load, in the order in which it tries them."""
    found = []
    for manifest in stored_manifests(store, TASK):
        try:
            loaded = store.load(TASK, manifest.version)
        except SnapshotError:
            continue
        assert (loaded.state, loaded.probes) == (STATE_BYTES, ASKED)
        found.append(manifest.version)
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data" / "snapshots"


@pytest.fixture(params=[None, KEY], ids=["no key", "key"])
def store(root: Path, request: pytest.FixtureRequest) -> SnapshotStore:
    made = SnapshotStore(str(root), request.param)
    fill(made)
    return made


@pytest.fixture
def new(root: Path) -> Path:
    return root / TASK / NEW


def test_folders_and_files_are_for_this_user_alone(root: Path) -> None:
    before = os.umask(0)
    try:
        fill(SnapshotStore(str(root)))
    finally:
        os.umask(before)
    for folder, _, names in os.walk(root.parent):
        assert stat.S_IMODE(Path(folder).stat().st_mode) == 0o700, folder
        for name in names:
            assert stat.S_IMODE((Path(folder) / name).stat().st_mode) == 0o600, name


# ---------------------------------------------------------------------- in place of a file

FILES = (MANIFEST, STATE, PROBES)


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def link_out_of_the_store(path: Path) -> None:
    """The right bytes, but elsewhere: whoever can change the link chooses what is read."""
    outside = path.parents[3] / f"outside-{path.name}"
    path.rename(outside)
    path.symlink_to(outside)


def device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def a_socket(path: Path) -> None:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as made:
        # Paths of sockets are short.
        made.bind(f"/proc/self/fd/{os.open(path.parent, os.O_RDONLY)}/{path.name}")


def flipped_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def missing(path: Path) -> None:
    path.unlink()


def oversized(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(8 << 30)  # it takes no room on the disk


def unreadable(path: Path) -> None:
    path.write_bytes(b"\xff\xfe" * 100)


ATTACKS = (
    *(fifo, folder, link_out_of_the_store, device, a_socket, flipped_bit, truncated),
    *(empty, missing, oversized, unreadable),
)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda each: each.__name__)
def test_a_file_that_is_not_as_it_was_written_costs_the_snapshot_alone(
    attack: Callable[[Path], None], name: str, store: SnapshotStore, new: Path
) -> None:
    assert usable(store) == [NEW, OLD]
    if attack is flipped_bit and name == MANIFEST and store._key is None:
        # Without a key nothing says what the manifest was, but for the digests in it.
        text = (new / name).read_text()
        digest = json.loads(text)["probes_sha256"]
        (new / name).write_text(text.replace(digest, digest[::-1]))
    else:
        attack(new / name)
    assert usable(store) == [OLD]
    with pytest.raises(SnapshotError):
        store.load(TASK, NEW)
    # The version is written again, and whatever lay there is gone.
    store.save(manifest_at(NEW), STATE_BYTES, ASKED)
    assert usable(store) == [NEW, OLD]
    assert names_in(new) == sorted(FILES)


# ---------------------------------------------------------------------- in place of a folder


def folder_that_is_a_link(path: Path) -> None:
    outside = path.parents[2] / "outside"
    path.rename(outside)
    path.symlink_to(outside)


def folder_that_is_a_fifo(path: Path) -> None:
    shutil.rmtree(path)
    os.mkfifo(path)


def folder_that_is_a_file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("a snapshot")


def link_that_leads_nowhere(path: Path) -> None:
    shutil.rmtree(path)
    path.symlink_to("nowhere")


def link_to_itself(path: Path) -> None:
    shutil.rmtree(path)
    path.symlink_to(path.name)


@pytest.mark.parametrize(
    "attack",
    [
        folder_that_is_a_link,
        folder_that_is_a_fifo,
        folder_that_is_a_file,
        link_that_leads_nowhere,
        link_to_itself,
    ],
)
def test_what_is_no_folder_costs_the_snapshot_alone(
    attack: Callable[[Path], None], store: SnapshotStore, new: Path, caplog: pytest.LogCaptureFixture
) -> None:
    attack(new)
    assert usable(store) == [OLD]
    assert f"skipped snapshot {NEW}: " in caplog.text
    store.save(manifest_at(NEW), STATE_BYTES, ASKED)
    assert usable(store) == [NEW, OLD]


def test_a_snapshot_is_deleted_without_following_a_link(store: SnapshotStore, new: Path) -> None:
    folder_that_is_a_link(new)
    outside = new.parents[2] / "outside"
    store.delete(TASK, NEW)
    assert not new.is_symlink()
    assert names_in(outside) == sorted(FILES)
    store.delete(TASK, OLD)
    store.delete(TASK, OLD)
    assert names_in(new.parent) == []


def test_a_task_folder_that_is_a_link_is_not_followed(store: SnapshotStore, new: Path) -> None:
    elsewhere = new.parents[2] / "elsewhere"
    new.parent.rename(elsewhere)
    new.parent.symlink_to(elsewhere)
    with pytest.raises(SnapshotError, match="cannot be read"):
        store.manifests(TASK)
    assert stored_manifests(store, TASK) == []
    with pytest.raises(OSError):  # noqa: PT011  ENOTDIR or ELOOP, as the system has it
        store.save(manifest_at("champion.1@3000"), STATE_BYTES, ASKED)
    assert names_in(elsewhere) == [OLD, NEW]


STRANGE = (
    b"evil",
    b"champion.1@02000",
    b"champion.1",
    b"CHAMPION.1@1",
    b"champion.1@" + b"9" * 200,
    b"\xff\xfe.1@1",
    b"a\nb\x1b[31m",
    b"champion.1@7.tmp",
    b".hidden",
)


@pytest.mark.parametrize("name", STRANGE)
def test_a_name_that_is_no_version_is_skipped_with_a_sentence(
    name: bytes, store: SnapshotStore, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(root / TASK / NEW, root / TASK / os.fsdecode(name))
    assert usable(store) == [NEW, OLD]
    assert usable(store) == [NEW, OLD]
    (said,) = caplog.messages  # once
    assert "skipped snapshot" in said
    assert said.isprintable()
    said.encode()


def test_other_files_in_a_snapshots_folder_are_not_read(
    store: SnapshotStore, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(new / "extra.json")
    (new / "state.pickle").symlink_to("/dev/zero")
    assert usable(store) == [NEW, OLD]


def test_a_store_full_of_nonsense_does_not_fill_the_log(
    store: SnapshotStore, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(1000):
        (root / TASK / f"evil-{number}").mkdir()
    assert usable(store) == [NEW, OLD]
    assert len(caplog.messages) <= 201


# ---------------------------------------------------------------------- the manifest


@pytest.mark.parametrize(
    "changes",
    [
        {"signature": "\ud800"},
        {"signature": None},
        {"signature": ["00"]},
        {"spec_text": "\udfff"},
        {"parents": "champion.1@1"},
        {"parents": [1]},
        {"parents": {}},
        {"schemas": {"Request": 1}},
        {"metrics": {"accuracy": "high"}},
        {"metrics": {"accuracy": True}},
        {"metrics": []},
        {"revision": True},
        {"revision": 1.0},
        {"log_offset": 10**400},
        {"log_offset": -2},
        {"created_at": 2**52},
        {"created_at": -1},
        {"kind": "code"},
        {"kind": ["model"]},
        {"task": "other"},
        {"version": OLD},
        {"probes_sha256": ""},
        {"state_sha256": "no hex"},
        {"reduce": "os.system"},
    ],
    ids=str,
)
def test_a_manifest_that_no_worker_wrote_is_skipped(
    changes: dict[str, Any], store: SnapshotStore, new: Path
) -> None:
    path = new / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    assert usable(store) == [OLD]


@pytest.mark.parametrize("text", ["[" * 100_000, "null", "[]", "{}", '{"version": NaN}', "9" * 5000])
def test_what_is_no_manifest_is_skipped(text: str, store: SnapshotStore, new: Path) -> None:
    (new / MANIFEST).write_text(text)
    assert usable(store) == [OLD]


@pytest.mark.parametrize("name", [each for each in Manifest.__dataclass_fields__ if each != "signature"])
def test_every_field_of_a_manifest_is_signed(name: str, root: Path, new: Path) -> None:
    store = SnapshotStore(str(root), KEY)
    fill(store)
    path = new / MANIFEST
    reported = json.loads(path.read_text())
    value = reported[name]
    if isinstance(value, str):
        reported[name] = f"{value}0"
    elif isinstance(value, int):
        reported[name] = value + 1
    elif isinstance(value, list):
        reported[name] = [*value, "a.1@1"]
    else:
        reported[name] = value | {"x": "y" if name == "schemas" else 1.0}
    path.write_text(json.dumps(reported))
    assert usable(store) == [OLD]


@pytest.mark.parametrize("signature", ["", "no hex", "\u00e9" * 64, "0" * 64])
def test_a_wrong_signature_is_skipped(signature: str, root: Path, new: Path) -> None:
    store = SnapshotStore(str(root), KEY)
    fill(store)
    path = new / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"signature": signature}))
    assert usable(store) == [OLD]


@pytest.mark.parametrize(
    "probes", [{}, [1], [{}], [{"features": [], "score": 0.5, "label": True}], [{"features": {}}]]
)
def test_probes_of_another_form_are_skipped(probes: Any, store: SnapshotStore) -> None:
    store.delete(TASK, NEW)
    store.save(manifest_at(NEW), STATE_BYTES, probes)
    assert usable(store) == [OLD]


def test_two_states_of_one_version_are_an_alarm_and_neither_is_lost(store: SnapshotStore) -> None:
    other = replace(manifest_at(NEW), state_digest="0" * 64)
    with pytest.raises(SnapshotError, match="two folds of one log disagree"):
        store.save(other, b"another state", ASKED)
    assert usable(store) == [NEW, OLD]
    assert store.save(manifest_at(NEW), STATE_BYTES, ASKED) == store.manifest(TASK, NEW)


# ---------------------------------------------------------------------- who else can write


def test_without_a_key_nothing_is_read_that_others_can_write(root: Path, new: Path) -> None:
    store = SnapshotStore(str(root))
    fill(store)
    for path in (new / STATE, new, root / TASK):
        mode = stat.S_IMODE(path.stat().st_mode)
        path.chmod(mode | 0o022)
        assert usable(store) == ([] if path == root / TASK else [OLD]), path
        path.chmod(mode)
        assert usable(store) == [NEW, OLD]


@pytest.mark.parametrize("place", ["snapshots", "data"])
def test_a_folder_that_others_can_write_needs_a_key(place: str, root: Path) -> None:
    make_private(root)
    (root.parent if place == "data" else root).chmod(0o777)
    with pytest.raises(UsageError, match=r"is writable by others .*RIVERLOOP_SNAPSHOT_KEY"):
        SnapshotStore(str(root))
    signed = SnapshotStore(str(root), KEY)
    fill(signed)
    assert usable(signed) == [NEW, OLD]


def test_a_folder_of_another_user_needs_a_key(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_private(root)
    assert shared_because(root) == ""
    if os.geteuid() == 0:  # only root gives a folder away
        os.chown(root, 4711, 4711)
    owner = root.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(UsageError, match=f"belongs to user {owner}"):
        SnapshotStore(f"file://{root}")


def test_a_folder_through_a_link_is_judged_by_where_it_leads(root: Path, tmp_path: Path) -> None:
    make_private(root)
    link = tmp_path / "link"
    link.symlink_to(root)
    SnapshotStore(str(link))
    root.chmod(0o707)
    with pytest.raises(UsageError, match="is writable by others"):
        SnapshotStore(str(link))


def test_a_folder_below_one_with_the_sticky_bit_is_ours(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp").chmod(0o1777)
    SnapshotStore(str(tmp_path / "tmp" / "snapshots"))
    with pytest.raises(UsageError, match="is writable by others"):
        SnapshotStore(str(tmp_path / "tmp"))


def test_a_store_elsewhere_needs_a_key() -> None:
    with pytest.raises(UsageError, match=r"is writable by others.*RIVERLOOP_SNAPSHOT_KEY"):
        SnapshotStore("dir::file:///tmp")


def test_the_commands_reject_such_a_store_and_name_what_is_skipped(
    root: Path, new: Path, tmp_path: Path
) -> None:
    fill(SnapshotStore(str(root)))
    file = tmp_path / "listed.py"
    file.write_text(TASK_FILE)
    fifo(new / STATE)
    made = CliRunner().invoke(snapshots, ["list", str(file), "--snapshots", str(root)])
    assert made.exit_code == 0
    assert f"snapshot {NEW} is skipped" in made.stderr
    reported = json.loads(
        CliRunner().invoke(snapshots, ["list", str(file), "--snapshots", str(root), "--json"]).stdout
    )
    assert [each["version"] for each in reported["snapshots"]] == [OLD]
    assert [*reported["skipped"]] == [NEW]
    root.chmod(0o777)
    rejected = CliRunner().invoke(snapshots, ["list", str(file), "--snapshots", str(root)]).exception
    assert isinstance(rejected, UsageError)


# ---------------------------------------------------------------------- other stores


@pytest.fixture
def remote() -> Iterator[SnapshotStore]:
    uri = f"memory://{uuid.uuid4().hex}"
    made = SnapshotStore(uri, KEY)
    assert isinstance(made._files, RemoteFiles)
    fill(made)
    yield made
    fsspec.filesystem("memory").rm(made.where(""), recursive=True)


@pytest.mark.parametrize("name", FILES)
def test_a_remote_file_that_is_not_as_it_was_written_costs_the_snapshot_alone(
    name: str, remote: SnapshotStore
) -> None:
    files, place = fsspec.filesystem("memory"), f"{remote.where(TASK, NEW)}/{name}"
    whole = files.cat_file(place)
    assert usable(remote) == [NEW, OLD]
    for data in (whole[:-2], b"", b"\xff" * 9, whole[:40] + bytes([whole[40] ^ 1]) + whole[41:]):
        files.pipe_file(place, data)
        assert usable(remote) == [OLD]
    files.rm(place)
    files.pipe_file(f"{place}/inner", whole)  # a folder
    assert usable(remote) == [OLD]
    files.rm(f"{place}/inner")
    remote.save(manifest_at(NEW), STATE_BYTES, ASKED)
    assert usable(remote) == [NEW, OLD]
    remote.delete(TASK, NEW)
    assert usable(remote) == [OLD]
    assert remote.size(TASK, OLD) > len(STATE_BYTES)


def test_strange_names_in_a_remote_store_are_skipped(
    remote: SnapshotStore, caplog: pytest.LogCaptureFixture
) -> None:
    files = fsspec.filesystem("memory")
    files.pipe_file(f"{remote.where(TASK)}/evil/{MANIFEST}", b"{}")
    files.pipe_file(remote.where(TASK, "champion.1@5"), b"a file")
    assert usable(remote) == [NEW, OLD]
    assert "skipped snapshot evil" in caplog.text


class Broken:
    """A file system whose package raises errors of its own."""

    def __getattr__(self, name: str) -> Any:
        def fails(*_arguments: Any, **_more: Any) -> Any:
            raise RuntimeError("no such account")

        return fails


def test_whatever_a_remote_store_raises_is_a_sentence(remote: SnapshotStore) -> None:
    remote._files = RemoteFiles(Broken(), "bucket")
    with pytest.raises(SnapshotError, match="RuntimeError: no such account"):
        remote.manifests(TASK)
    with pytest.raises(SnapshotError, match="RuntimeError: no such account"):
        remote.load(TASK, NEW)
    with pytest.raises(OSError, match="RuntimeError: no such account"):
        remote.save(manifest_at(NEW), STATE_BYTES, ASKED)
    with pytest.raises(OSError, match="RuntimeError: no such account"):
        remote.delete(TASK, NEW)
    assert stored_manifests(remote, TASK) == []


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "a\0b"])
def test_no_name_leads_out_of_the_store(name: str, root: Path) -> None:
    for files in (LocalFiles(str(root), signed=True), RemoteFiles(fsspec.filesystem("memory"), "x")):
        root.mkdir(parents=True, exist_ok=True)
        with pytest.raises(ValueError, match="not a name"):
            files.read(name, NEW, STATE, 10)
        with pytest.raises(ValueError, match="not a name"):
            files.names(name)
