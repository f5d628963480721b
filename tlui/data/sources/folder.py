"""A folder of photos, one class a folder: with train/val/test above the classes, or without.

Split folders are found by their usual names in any case, through one more folder of wrapping as
Kaggle's archives have it (`train/train`); or they are named in the preset, with lists of files
where the public layout has those (Food-101's `meta/train.txt`).
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np

from tlui.data.items import Found, Group, Skipped, capped
from tlui.data.sources.files import Files, FoundFile, read_list, shown, subfolders, walk
from tlui.errors import DataError
from tlui.recipe.sources import SPLITS, FolderSource, SplitName

WORDS: dict[bytes, SplitName] = {
    b"train": "train", b"training": "train", b"seg_train": "train",
    b"val": "val", b"valid": "val", b"validation": "val",
    b"test": "test", b"testing": "test", b"seg_test": "test",
}  # fmt: skip

NO_CLASS = "(no class)"
"""What photos are shown under that are in no class folder."""

Classes = dict[bytes, list[FoundFile]]


def find_folder(dataset: FolderSource) -> Found:
    """Classes and images of a folder.

    Raises:
        DataError: The folder, a split folder or a list is missing or unreadable, or the layout
            is none that is known.
    """
    root = os.fsencode(Path(dataset.path).expanduser())
    try:
        is_folder = stat.S_ISDIR(os.stat(root).st_mode)  # noqa: PTH116 - bytes
    except FileNotFoundError:
        raise DataError(f"dataset.path: folder {shown(root)!r} does not exist") from None
    except OSError as error:
        raise DataError(f"dataset.path: folder {shown(root)!r}: {error.strerror}") from error
    if not is_folder:
        raise DataError(f"dataset.path: folder {shown(root)!r} is a file")
    skipped: list[Skipped] = []
    notes: list[str] = []
    if _named(dataset) and not _elsewhere(dataset, root, notes):
        splits = _splits_named(dataset, root, skipped, notes)
    else:
        splits = _splits_by_name(root, skipped, notes)
    names = sorted({name for classes in splits.values() for name in classes})
    if not names:
        raise _no_classes(root)
    index = {name: i for i, name in enumerate(names)}
    groups: dict[SplitName, Group] = {}
    for split in SPLITS:
        if split not in splits:
            continue
        files = [(file, index[name]) for name, held in splits[split].items() for file in held]
        files.sort(key=lambda pair: pair[0].path)
        groups[split] = Group(
            Files(root, [file for file, _ in files]),
            np.array([label for _, label in files], np.int64),
            frozenset(index[name] for name in splits[split]),
        )
    return Found([shown(n) for n in names], groups, shown(root), skipped, notes)


def find_loose(dataset: FolderSource) -> Found | None:
    """Every photo below a folder whose layout is none to train on, as if of one class; None where
    there is none, or no folder."""
    root = os.fsencode(Path(dataset.path).expanduser())
    skipped: list[Skipped] = []
    try:
        files = walk(root, b"", skipped)
    except (DataError, OSError):
        return None
    group = Group(Files(root, files), np.zeros(len(files), np.int64))
    return Found([NO_CLASS], {"train": group}, shown(root), skipped) if files else None


def _no_classes(root: bytes) -> DataError:
    return DataError(
        f"dataset {shown(root)!r}: no class folders: training needs a folder of photos for each "
        "class. Expected CLASS/photo.jpg, or train/CLASS/photo.jpg with val/ and test/ likewise."
    )


def _named(dataset: FolderSource) -> bool:
    return any(
        getattr(dataset, f"{split}_{kind}") is not None
        for split in ("train", "validation", "test")
        for kind in ("folder", "list")
    )


def _elsewhere(dataset: FolderSource, root: bytes, notes: list[str]) -> bool:
    """Whether the named train folder is not there but one with a usual name is: a public dataset
    that was unpacked in another way than its shortcut says."""
    wanted = dataset.train_folder
    if wanted is None or os.path.isdir(_join(root, _normal(wanted))):  # noqa: PTH112 - bytes
        return False
    if not any(
        WORDS.get(n.lower()) == "train" for n in subfolders(_join(root, _unwrapped(root, b"")))
    ):
        return False
    notes.append(f"no folder {wanted}; splits taken from the folders with the usual names")
    return True


def _splits_by_name(
    root: bytes, skipped: list[Skipped], notes: list[str]
) -> dict[SplitName, Classes]:
    start = _unwrapped(root, b"")
    inner = subfolders(_join(root, start))
    if away := [shown(_under(start, n)) for n in _away(_join(root, start)) if n.lower() in WORDS]:
        raise DataError(
            f"dataset {shown(root)!r}: {', '.join(away)}: link to nothing. Bring back the disk it "
            "points to, or remove the link: then a share of train takes its place."
        )
    found: dict[SplitName, list[bytes]] = {}
    for name in inner:
        if (split := WORDS.get(name.lower())) is not None:
            found.setdefault(split, []).append(name)
    twice = [" and ".join(shown(n) for n in names) for names in found.values() if len(names) > 1]
    if twice:
        raise DataError(
            f"dataset {shown(root)!r}: two folders for one split: {'; '.join(twice)}. "
            "Name the one to use with dataset.train_folder, validation_folder and test_folder."
        )
    if found and "train" not in found:
        raise DataError(
            f"dataset {shown(root)!r}: has {', '.join(shown(n[0]) for n in found.values())} but "
            'no train folder. Name it with dataset.train_folder ("." where these are classes).'
        )
    if not found:
        if not inner:
            raise _no_classes(root)
        return {"train": _classes(root, start, skipped)}
    passed = [shown(n) for n in inner if n.lower() not in WORDS]
    if passed:
        notes.append(f"folders beside train, not used: {', '.join(passed)}")
    return {
        split: _classes(root, _unwrapped(root, _under(start, names[0])), skipped)
        for split, names in found.items()
    }


def _unwrapped(root: bytes, start: bytes) -> bytes:
    """`start`, or the one folder in it that holds the class folders (`train/train/CLASS`)."""
    for _ in range(3):
        inner = subfolders(_join(root, start))
        if len(inner) != 1 or (inner[0].lower() in WORDS and not start):
            return start
        deeper = _under(start, inner[0])
        if not subfolders(_join(root, deeper)) or _has_files(_join(root, deeper)):
            return start
        start = deeper
    return start


def _has_files(folder: bytes) -> bool:
    with os.scandir(folder) as entries:
        return any(not e.name.startswith(b".") and e.is_file() for e in entries)


def _splits_named(
    dataset: FolderSource, root: bytes, skipped: list[Skipped], notes: list[str]
) -> dict[SplitName, Classes]:
    folders = {
        "train": dataset.train_folder,
        "val": dataset.validation_folder,
        "test": dataset.test_folder,
    }
    lists = {
        "train": dataset.train_list,
        "val": dataset.validation_list,
        "test": dataset.test_list,
    }
    if any(lists.values()) and not lists["train"]:
        raise DataError(
            "dataset.train_list is needed where another list is given: "
            "what is trained on must be said as well"
        )
    walked: dict[bytes, Classes] = {}
    splits: dict[SplitName, Classes] = {}
    for split in SPLITS:
        folder, listing = folders[split], lists[split]
        if split != "train" and folder is None and listing is None:
            continue
        start = _normal(folder if folder is not None else dataset.train_folder or ".")
        if not os.path.isdir(_join(root, start)):  # noqa: PTH112 - bytes
            key = "validation" if split == "val" else split
            raise DataError(
                f"dataset.{key}_folder: {shown(start)!r} is no folder in {shown(root)!r}"
            )
        if start not in walked:
            walked[start] = _classes(root, start, skipped)
        splits[split] = walked[start]
        if listing is not None:
            splits[split] = _listed(root, listing, walked[start], start)
    if any(lists.values()):
        used = {f.path for held in splits.values() for files in held.values() for f in files}
        every = sum(len(files) for held in walked.values() for files in held.values())
        if every > len(used):
            notes.append(f"{every - len(used):,} images are in no list and not used")
    return splits


def _listed(root: bytes, listing: str, classes: Classes, start: bytes) -> Classes:
    """The files of `classes` that a list names, with or without their suffix."""
    path = _join(root, _normal(listing))
    lines = read_list(path, "list").splitlines()
    by_name: dict[bytes, tuple[bytes, FoundFile]] = {}
    for name, files in classes.items():
        for found in files:
            inner = found.path[len(start) + 1 :] if start else found.path
            by_name[os.path.splitext(inner)[0]] = by_name[inner] = (name, found)  # noqa: PTH122
    chosen: Classes = {}
    missing: list[str] = []
    seen: set[bytes] = set()
    for number, line in enumerate(lines, 1):
        wanted = line.strip().replace(b"\\", b"/")
        if not wanted or wanted.startswith(b"#"):
            continue
        hit = by_name.get(wanted)
        if hit is None:
            missing.append(f"line {number}: {shown(wanted)}")
        elif hit[1].path not in seen:
            seen.add(hit[1].path)
            chosen.setdefault(hit[0], []).append(hit[1])
    if missing:
        raise DataError(
            f"list {shown(path)!r} names images that are not in "
            f"{shown(_join(root, start))!r}:\n{capped(missing)}"
        )
    return chosen


def _classes(root: bytes, start: bytes, skipped: list[Skipped]) -> Classes:
    folder = _join(root, start)
    classes = {name: walk(root, _under(start, name), skipped) for name in subfolders(folder)}
    with os.scandir(folder) as entries:
        files = [e.name for e in entries if not e.name.startswith(b".") and e.is_file()]
    for reason, names in (("not in a class folder", files), ("link to nothing", _away(folder))):
        skipped += [Skipped(shown(_under(start, name)), reason) for name in names]
    return classes


def _away(folder: bytes) -> list[bytes]:
    """Names of links to nothing: folders on a disk that is away?"""
    with os.scandir(folder) as entries:
        return [
            entry.name
            for entry in entries
            if entry.is_symlink()
            and not entry.name.startswith(b".")
            and not (entry.is_file() or entry.is_dir())
        ]


def _normal(path: str) -> bytes:
    parts = [part for part in os.fsencode(path).split(b"/") if part not in (b"", b".")]
    return (b"/" if path.startswith("/") else b"") + b"/".join(parts)


def _join(root: bytes, start: bytes) -> bytes:
    return os.path.join(root, start) if start else root  # noqa: PTH118 - bytes


def _under(start: bytes, name: bytes) -> bytes:
    return start + b"/" + name if start else name
