import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tlui.runs.events import EventReader, EventWriter


def records(path: Path) -> list[dict]:
    return list(EventReader(path).read_all())


def test_round_trip(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path / "e")
    assert writer.write("epoch", epoch=1, loss=float("nan"), name="ü\n\u2028")
    writer.close()
    (found,) = records(tmp_path / "e")
    assert found["type"] == "epoch" and found["loss"] is None and found["name"] == "ü\n\u2028"
    assert (tmp_path / "e").read_bytes().count(b"\n") == 1


def test_torn_tail_is_ignored_then_cut(tmp_path: Path) -> None:
    path = tmp_path / "e"
    writer = EventWriter(path)
    writer.write("log", message="one")
    writer.close()
    whole = path.read_bytes()
    for cut in range(1, len(whole)):
        path.write_bytes(whole + whole[:cut].rstrip(b"\n"))
        reader = EventReader(path)
        assert len(list(reader.read_all())) == 1
        writer = EventWriter(path)
        writer.write("log", message="two")
        writer.close()
        assert [r["message"] for r in reader.read_all()] == ["two"]
        assert [r["message"] for r in records(path)] == ["one", "two"]


def test_torn_tail_longer_than_a_block_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "e"
    path.write_bytes(b'{"type":"log","t":1}\n' + b"x" * 50_000)
    EventWriter(path).close()
    assert path.read_bytes() == b'{"type":"log","t":1}\n'
    path.write_bytes(b"no newline at all" * 1000)
    EventWriter(path).close()
    assert path.read_bytes() == b""


def test_foreign_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "e"
    lines = [b"\xff\xfe", b"[]", b'"text"', b"", b'{"no":"type"}', b'{"type":7}', b"[" * 100_000]
    path.write_bytes(b"\n".join([*lines, b'{"type":"log"}', b""]))
    assert records(path) == [{"type": "log"}]


def test_reader_in_small_portions_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "e"
    writer = EventWriter(path)
    for n in range(100):
        writer.write("log", n=n, text="x" * (n * 7))
    writer.close()
    reader = EventReader(path)
    found = []
    while part := reader.read(most=50):
        found += part
    assert [r["n"] for r in found] == list(range(100))


def test_full_disk_loses_records_but_never_raises(tmp_path: Path) -> None:
    path = tmp_path / "e"
    writer = EventWriter(path)
    assert writer.write("log", n=0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        # the next record fits in part only, as on a disk that fills up within a write
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, hard))
        assert not writer.write("log", n=1, text="x" * 100)
        assert not writer.write("log", n=2, text="x" * 100)
        assert writer.lost == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert writer.write("log", n=3)
    assert writer.lost == 0
    writer.close()
    assert [r["n"] for r in records(path)] == [0, 3]
    for line in path.read_bytes().splitlines():
        json.loads(line)


@pytest.mark.parametrize("length", [0, 26, 999], ids=["shorter", "as long", "longer"])
def test_a_reader_notices_a_file_begun_anew(tmp_path: Path, length: int) -> None:
    path = tmp_path / "e"
    writer, reader = EventWriter(path), EventReader(path)
    writer.write("log", message="before, and at some length")
    assert len(reader.read()) == 1
    path.unlink()
    assert reader.read() == []
    writer.write("log", message="x" * length)
    writer.write("log", message="after")
    found = [record["message"] for record in reader.read()]
    assert found == ["x" * length, "after"]
    assert reader.read() == []
    writer.close()


def test_writer_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("precious")
    (tmp_path / "e").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError):
        EventWriter(tmp_path / "e")
    assert (tmp_path / "outside").read_text() == "precious"


def test_reader_beside_a_killed_writer(tmp_path: Path) -> None:
    """A reader that reads all along sees every record once, up to the kill."""
    path = tmp_path / "e"
    code = (
        "import sys; from pathlib import Path; from tlui.runs.events import EventWriter\n"
        "w = EventWriter(Path(sys.argv[1])); n = 0\n"
        "while True:\n    w.write('log', n=n, text='x' * (n % 500)); n += 1\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(path)])
    reader = EventReader(path)
    found = []
    try:
        while len(found) < 2000:
            found += [r["n"] for r in reader.read()]
            assert process.poll() is None
    finally:
        process.kill()
        process.wait()
    found += [r["n"] for r in reader.read_all()]
    assert found == list(range(len(found)))
    writer = EventWriter(path)
    writer.write("log", n=-1)
    writer.close()
    assert [r["n"] for r in reader.read_all()] == [-1]
