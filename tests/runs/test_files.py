import errno
import json
import math
import os
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tlui.runs.files import (
    make_private,
    overwrite,
    read_json,
    to_json,
    write_json,
    write_text,
    write_whole,
)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a tmpfs here (needs root)")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> None:
    with pytest.raises(OSError), open(folder / "filler", "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_numbers_not_finite_are_null_at_any_depth() -> None:
    given = {"a": [math.nan, (math.inf, 1.5)], "b": {"c": -math.inf}}
    assert json.loads(to_json(given)) == {"a": [None, [None, 1.5]], "b": {"c": None}}


def test_numpy_values_are_plain_numbers() -> None:
    given = {"a": np.float32(0.5), "b": np.int64(3), "c": np.array([1.0, np.nan])}
    assert json.loads(to_json(given)) == {"a": 0.5, "b": 3, "c": [1.0, None]}


def test_file_names_that_are_not_utf8_survive(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    write_json(tmp_path / "x.json", {"name": name, "ok": "ü"})
    assert read_json(tmp_path / "x.json") == {"name": name, "ok": "ü"}


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"null", b"[" * 100_000])
def test_damaged_json_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    assert read_json(tmp_path / "x.json") is None


def test_pipe_or_folder_in_the_place_of_a_file_blocks_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "folder.json").mkdir()
    assert read_json(tmp_path / "pipe.json") is None
    assert read_json(tmp_path / "folder.json") is None
    assert read_json(tmp_path / "absent.json") is None


def test_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make_private(tmp_path / "a" / "b")
        write_text(tmp_path / "a" / "b" / "x", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "a" / "b" / "x").stat().st_mode) == 0o600


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_text(path, "old")

    def fail(file: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError):
        write_whole(path, fail)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_full_disk_leaves_the_old_file(small_disk: Path) -> None:
    write_text(small_disk / "x", "old")
    with pytest.raises(OSError):
        write_text(small_disk / "x", "new" * 100_000)
    assert (small_disk / "x").read_text() == "old"
    assert [p.name for p in small_disk.iterdir()] == ["x"]


def test_a_file_can_be_written_over_where_a_new_one_does_not_fit(small_disk: Path) -> None:
    path = small_disk / "x"
    write_json(path, {"state": "running", "reason": "r" * 500})
    fill(small_disk)
    with pytest.raises(OSError):
        write_json(path, {"state": "failed"})
    assert overwrite(path, b'{"state": "failed"}')
    assert read_json(path) == {"state": "failed"}
    assert overwrite(path, to_json({"longer": "y" * 2000}).encode())
    assert read_json(path) == {"longer": "y" * 2000}
    assert not overwrite(path, b"z" * 100_000) and read_json(path) == {"longer": "y" * 2000}


def test_only_a_regular_file_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "outside")
    assert not overwrite(tmp_path / "link", b"x")
    assert not overwrite(tmp_path / "absent", b"x")
    assert not overwrite(tmp_path, b"x")
    assert (tmp_path / "outside").read_text() == "precious"


def test_link_in_the_place_of_a_file_is_replaced_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("precious")
    (tmp_path / "x").symlink_to(outside)
    write_text(tmp_path / "x", "ours")
    assert outside.read_text() == "precious"
    assert not (tmp_path / "x").is_symlink()


def test_reader_never_sees_a_part(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"n": 0, "text": "x" * 10_000}, sync=False)
    done = threading.Event()

    def write() -> None:
        for n in range(200):
            write_json(path, {"n": n, "text": "x" * 10_000}, sync=False)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = 0
    while not done.is_set() or seen == 0:
        found = read_json(path)
        assert found is not None and len(found["text"]) == 10_000
        seen += 1
    writer.join()


def test_a_file_replaced_by_another_host_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On NFS a file that was opened and then replaced elsewhere is gone for its reader."""
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    gone = OSError(errno.ESTALE, os.strerror(errno.ESTALE))
    answers = iter([gone, gone])
    real = os.read

    def read(handle: int, size: int) -> bytes:
        for error in answers:
            raise error
        return real(handle, size)

    monkeypatch.setattr(os, "read", read)
    assert read_json(path) == {"a": 1}
    answers = iter([gone] * 100)
    assert read_json(path) is None and list(answers), "not for ever"


def test_a_file_that_is_just_being_replaced_is_read_again(tmp_path: Path) -> None:
    """Readers on a network disk may get a part; what stays broken is given up soon."""
    path = tmp_path / "x.json"
    path.write_text('{"a": ')
    mending = threading.Timer(0.03, write_json, (path, {"a": 1}))
    mending.start()
    assert read_json(path) == {"a": 1}
    mending.join()
    path.write_text('{"a": ')
    assert read_json(path) is None
