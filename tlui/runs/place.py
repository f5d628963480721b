"""Where the index may lie: a local folder of the user's own, never a network filesystem.

SQLite's write-ahead log needs shared memory, which two hosts on one NFS share do not have.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from tlui.errors import TluiError
from tlui.recipe.place import expanded
from tlui.runs.files import foreign, make_own, make_private

NETWORK = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb", "smbfs", "smb3", "9p", "afs", "ceph", "glusterfs"),
        *("lustre", "gpfs", "beegfs", "pvfs2", "panfs", "orangefs", "fuse.sshfs"),
        *("fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.rclone", "fuse.juicefs"),
    }
)


def cache_folder() -> Path:
    """$TLUI_CACHE, or tlui's folder among the user's caches; not created."""
    given = os.environ.get("TLUI_CACHE")
    if given:
        return expanded(given).absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("tlui"))


def index_path(home: Path) -> Path | None:
    """The index file of a home; None where nothing local and private can be written."""
    name = hashlib.sha256(os.fsencode(home.resolve())).hexdigest()[:16] + ".sqlite"
    for root, folder in _candidates():
        try:
            usable(root)
            make_own(folder)
        except (OSError, TluiError):
            continue
        if os.access(folder, os.W_OK | os.X_OK) and filesystem(folder) not in NETWORK:
            return folder / name
    return None


def _candidates() -> Iterator[tuple[Path, Path]]:
    """Where an index may lie: a folder that must be ours, and the one in it."""
    yield cache_folder(), cache_folder() / "index"
    import tempfile

    user = Path(tempfile.gettempdir()) / f"tlui-{os.getuid()}"
    yield user, user


def usable(cache: Path) -> None:
    """Make the cache's folder if it is not there; then as `check`.

    Raises:
        TluiError: It is not ours alone.
        OSError: It cannot be made.
    """
    make_private(cache)
    check(cache)


def check(cache: Path) -> None:
    """Refuse a cache folder (which may be a link) whose contents could be somebody else's.

    Raises:
        TluiError: It belongs to somebody else, others may write to it, or it cannot be reached.
    """
    try:
        why = foreign(cache.stat())
    except FileNotFoundError:
        return
    except OSError as error:
        why = f"cannot be reached ({error.strerror})"
    if why:
        raise TluiError(f"{cache}: {why}, so nothing is cached; choose another with $TLUI_CACHE")


def filesystem(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """The type of the filesystem a folder lies on, "" where the kernel does not say."""
    best, kind = -1, ""
    try:
        where = str(folder.resolve())
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return ""
    for line in lines:
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        point = fields[4].replace("\\040", " ").rstrip("/")
        if (where == point or where.startswith(point + "/")) and len(point) >= best:
            best, kind = len(point), after.split(" ")[0]
    return kind
