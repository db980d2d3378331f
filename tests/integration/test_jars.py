"""Fetching Kafka's jars, from a Maven repository on the loopback interface that serves this user's cache."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.embedded.jars import cache_directory, class_path, pinned_jars
from schemas.errors import BrokerError

pytestmark = pytest.mark.kafka

ROOT = Path(__file__).parents[2]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory of a Maven repository that jgo is configured to ask first."""
    directory = tmp_path / "mirror"
    for jar, path in zip(pinned_jars(), class_path(), strict=True):
        place = directory / jar.group.replace(".", "/") / jar.artifact / jar.version / jar.file_name
        place.parent.mkdir(parents=True)
        shutil.copy(path, place)
    handler = functools.partial(Quiet, directory=str(directory))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        config = tmp_path / "jgo.conf"
        config.write_text(f"[repositories]\nmirror = http://127.0.0.1:{server.server_port}\n")
        monkeypatch.setenv("JGO_CONFIG_FILE", str(config))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield directory
        server.shutdown()
        thread.join()


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    # Port 9 is "discard": nothing listens there, so every request fails at once.
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


@pytest.mark.usefixtures("no_network")
def test_without_network_and_cache_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="needs the network") as caught:
        class_path(directory=tmp_path / "cache")
    assert "--bootstrap" in str(caught.value)
    assert str(tmp_path / "cache") in str(caught.value)


@pytest.mark.usefixtures("mirror", "no_network")
def test_two_processes_fetching_at_once_share_one_whole_cache(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    code = (
        "import sys, pathlib; from infra.embedded.jars import class_path; "
        "class_path(lambda sentence: print(sentence, flush=True), pathlib.Path(sys.argv[1]))"
    )
    fetchers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(cache)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    said = [fetcher.communicate(timeout=120)[0] for fetcher in fetchers]
    assert [fetcher.returncode for fetcher in fetchers] == [0, 0, 0]
    assert sum("Fetching Apache Kafka" in out for out in said) == 1
    assert all(path.exists() for path in class_path(directory=cache))
    assert {path.name for path in cache.iterdir()} == {jar.file_name for jar in pinned_jars()} | {".lock"}


@pytest.mark.usefixtures("no_network")
def test_a_damaged_jar_is_fetched_again_and_a_forged_one_is_rejected(mirror: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    shutil.copytree(class_path()[0].parent, cache)
    jar = next(jar for jar in pinned_jars() if jar.artifact == "slf4j-api")
    damaged = cache / jar.file_name
    whole = damaged.read_bytes()

    damaged.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    said: list[str] = []
    class_path(said.append, cache)
    assert damaged.read_bytes() == whole
    assert "1 jars" in said[0]

    (served,) = mirror.rglob(jar.file_name)
    served.write_bytes(whole + b"forged")
    damaged.unlink()
    with pytest.raises(BrokerError, match=r"org\.slf4j:slf4j-api:1\.7\.36 has SHA-256"):
        class_path(said.append, cache)
    assert not damaged.exists()


def test_jars_with_known_flaws_that_the_broker_runs_without_are_left_out() -> None:
    pinned = {(jar.group, jar.artifact) for jar in pinned_jars()}
    assert ("org.apache.kafka", "kafka_2.13") in pinned
    assert not {artifact for _, artifact in pinned} & {"commons-beanutils", "commons-collections"}
    assert ("org.lz4", "lz4-java") not in pinned


@pytest.mark.usefixtures("mirror", "no_network")
@pytest.mark.parametrize("place", ["link", "fifo", "folder", "writable"])
def test_what_is_no_file_of_this_user_alone_is_fetched_again(place: str, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    shutil.copytree(cache_directory(), cache)
    jar = cache / next(jar for jar in pinned_jars() if jar.artifact == "slf4j-api").file_name
    whole = jar.read_bytes()
    outside = tmp_path / jar.name
    if place == "writable":
        jar.chmod(0o666)
    else:
        jar.rename(outside)
    if place == "link":
        jar.symlink_to(outside)
    elif place == "fifo":
        os.mkfifo(jar)
    elif place == "folder":
        jar.mkdir()
    class_path(directory=cache)
    assert jar.is_file()
    assert not jar.is_symlink()
    assert jar.read_bytes() == whole
    assert jar.stat().st_mode & 0o022 == 0


@pytest.mark.parametrize("above", [False, True])
def test_a_cache_that_others_can_write_is_rejected(
    above: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "above" / "cache"
    shutil.copytree(cache_directory(), cache)
    class_path(directory=cache)
    (cache.parent if above else cache).chmod(0o777)
    with pytest.raises(BrokerError, match=r"is writable by others.*XDG_CACHE_HOME"):
        class_path(directory=cache)
    (cache.parent if above else cache).chmod(0o755)
    class_path(directory=cache)
    if os.geteuid() == 0:  # only root gives a folder away
        os.chown(cache, 4711, 4711)
    owner = cache.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(BrokerError, match=f"belongs to user {owner}"):
        class_path(directory=cache)


def test_without_a_home_the_error_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_user: int) -> None:
        raise KeyError

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)
    with pytest.raises(BrokerError, match="no home folder"):
        class_path()
