"""`tlui cache ls|rm`: what the image and feature caches hold, and their removal."""

from __future__ import annotations

from typing import Annotated

import typer

from tlui.cli.options import JsonOption

KeysArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY|DATASET]...",
        help="Keys or their beginnings, or names of datasets, as `tlui cache ls` shows them.",
    ),
]
AllOption = Annotated[bool, typer.Option("--all", help="Everything that no run is using.")]


def list_entries(json: JsonOption = False) -> None:
    """Show what is cached: size, when it was last used, and from which dataset."""
    import datetime

    from tlui.cli.tables import fitted
    from tlui.cli.terminal import columns, print_json
    from tlui.data.cache import cache_limit, entries
    from tlui.runs.format import size
    from tlui.runs.place import cache_folder, check
    from tlui.runs.text import printable, shorten

    root = cache_folder()
    check(root)
    found = entries(root)
    limit = cache_limit(root) if root.is_dir() else None
    if json:
        rows = [
            {
                "kind": entry.kind,
                "key": entry.key,
                "bytes": entry.bytes,
                "last_used": datetime.datetime.fromtimestamp(entry.used, datetime.UTC).isoformat(),
                "in_use": entry.in_use,
                **{k: v for k, v in entry.meta.items() if isinstance(v, str | int | bool)},
            }
            for entry in found
        ]
        print_json({"root": str(root), "limit_bytes": limit, "entries": rows})
        return
    if not found:
        typer.echo(f"{printable(root)}: nothing is cached")
        return
    table = [["kind", "key", "size", "last used", "dataset", "images"]]
    for entry in reversed(found):
        meta = entry.meta
        used = datetime.datetime.fromtimestamp(entry.used).strftime("%Y-%m-%d %H:%M")
        what = str(meta.get("what") or f"{meta.get('images', 0):,} at {meta.get('size')} px")
        table.append(
            [
                entry.kind,
                entry.key[:10],
                size(entry.bytes),
                "in use" if entry.in_use else used,
                shorten(printable(meta.get("dataset", "")), 24),
                shorten(printable(what), 48),
            ]
        )
    wide = columns()
    print("\n".join(fitted(table, wide, left=6, drop=["last used"], yields=4)))
    total = sum(entry.bytes for entry in found)
    allowed = f" of {size(limit)}" if limit is not None else ""
    typer.echo(f"\n{size(total)}{allowed} in {printable(root)}")


def remove_entries(keys: KeysArgument = None, everything: AllOption = False) -> None:
    """Delete cached images and features; they are made again when a run needs them."""
    import shutil

    from tlui.data.cache import entries, remove, sweep
    from tlui.errors import TluiError
    from tlui.runs.format import size
    from tlui.runs.place import cache_folder, check
    from tlui.runs.text import printable

    if bool(keys) == everything:
        raise TluiError("say which: tlui cache rm KEY|DATASET…, or --all", 2)
    root = cache_folder()
    check(root)
    found = entries(root)
    chosen = found if everything else []
    for wanted in keys or []:
        hits = [entry for entry in found if entry.meta.get("dataset") == wanted]
        if not hits:
            hits = [entry for entry in found if wanted and entry.key.startswith(wanted)]
            if len(hits) > 1:
                keys_of = ", ".join(entry.key[:10] for entry in hits[:5])
                more = f" and {len(hits) - 5} more" if len(hits) > 5 else ""
                raise TluiError(
                    f"{wanted!r} is the beginning of {len(hits)} keys: {keys_of}{more}", 2
                )
        if not hits:
            raise TluiError(f"nothing cached is called {wanted!r}; see tlui cache ls", 2)
        chosen += [entry for entry in hits if entry not in chosen]
    freed = sweep(root)
    kept = []
    for entry in chosen:
        if remove(entry):
            freed += entry.bytes
        else:
            kept.append(entry)
    if everything:
        shutil.rmtree(root / "index", ignore_errors=True)
    typer.echo(f"freed {size(freed)}")
    for entry in kept:
        name = printable(entry.meta.get("dataset", ""))
        typer.echo(f"kept {entry.kind} {entry.key[:10]} ({name}): a run is using it", err=True)
    if kept:
        raise typer.Exit(1)


app = typer.Typer(
    help="Decoded images and features kept between runs.",
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
)
app.command("ls")(list_entries)
app.command("rm")(remove_entries)
