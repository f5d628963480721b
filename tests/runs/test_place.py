import os
import stat
from pathlib import Path

import pytest

from tlui.runs.place import filesystem, index_path


def test_index_lies_in_the_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLUI_CACHE", str(tmp_path / "c"))
    found = index_path(tmp_path / "home")
    assert found is not None and found.parent == tmp_path / "c" / "index"
    assert stat.S_IMODE(found.parent.stat().st_mode) == 0o700
    assert found != index_path(tmp_path / "other")


def test_never_on_a_network_filesystem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLUI_CACHE", str(tmp_path / "nfs"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "local"))
    (tmp_path / "local").mkdir()
    kinds = {"nfs": "nfs4"}
    monkeypatch.setattr(
        "tlui.runs.place.filesystem", lambda p: kinds.get(p.relative_to(tmp_path).parts[0], "ext4")
    )
    found = index_path(tmp_path / "home")
    assert found is not None and found.parent == tmp_path / "local" / f"tlui-{os.getuid()}"
    kinds["local"] = "nfs"
    assert index_path(tmp_path / "home") is None


def test_folder_of_somebody_else_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TLUI_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ours = tmp_path / f"tlui-{os.getuid()}"
    ours.mkdir(mode=0o777)
    ours.chmod(0o777)
    assert index_path(tmp_path / "home") is None
    ours.rmdir()
    (tmp_path / "elsewhere").mkdir()
    ours.symlink_to(tmp_path / "elsewhere")
    assert index_path(tmp_path / "home") is None


def test_filesystem_of_the_nearest_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "1 0 8:1 / / rw - ext4 /dev/a rw\n"
        f"2 1 0:5 / {tmp_path} rw shared:1 - nfs4 server:/ rw\n"
        f"3 1 0:6 / {tmp_path}/in\\040side rw - tmpfs tmpfs rw\n"
    )
    (tmp_path / "in side").mkdir()
    assert filesystem(tmp_path / "x", mounts) == "nfs4"
    assert filesystem(tmp_path / "in side", mounts) == "tmpfs"
    assert filesystem(Path("/usr"), mounts) == "ext4"
    assert filesystem(tmp_path, tmp_path / "absent") == ""
