import csv
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from factory import make_run

from tlui.errors import TluiError
from tlui.runs import export
from tlui.runs.directory import Home
from tlui.runs.files import write_json
from tlui.runs.index import Index

NASTY = ("=1+1", "+1", "-1", "@x", "\tx", "\rx", 'q"uote', "com,ma", "line\nbreak", "ünï ✓", " sp ")


@pytest.fixture
def index(home: Home) -> Iterator[Index]:
    with Index(home) as found:
        yield found


def runs_csv(index: Index) -> str:
    index.refresh()
    out = io.StringIO(newline="")
    ids = index.ids(sort="created")
    export.write_runs(out, lambda: export.pages(index, ids))
    return out.getvalue()


def epochs_csv(home: Home, index: Index) -> str:
    index.refresh()
    out = io.StringIO(newline="")
    export.write_epochs(out, home, export.pages(index, index.ids(sort="created")))
    return out.getvalue()


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def fill(home: Home) -> None:
    make_run(home, name="head-1e-4", created=1e9)
    make_run(
        home,
        name="-then, full\n",
        created=2e9,
        config={"phase.1.lr.initial": 5e-7, "head.hidden": [128, 64], "tags": ["=a"]},
        metrics={"test_top5_accuracy": 0.99, "val_loss": None, "val_extra": 0.25},
    )
    make_run(home, name="waiting", state="queued", created=3e9 - 1)


def test_columns_are_the_documented_ones_in_order(home: Home, index: Index) -> None:
    fill(home)
    header = next(csv.reader(io.StringIO(runs_csv(index))))
    assert header[:6] == ["run_id", "name", "preset", "experiment", "state", "reason"]
    promised = [
        *("created", "train_accuracy", "val_f1", "test_weighted_f1", "test_roc_auc"),
        *("train_seconds", "test_inference_seconds", "images_per_second"),
        *("trainable_parameters", "total_parameters", "peak_memory_mb", "device"),
        *("versions.tensorflow", "backbone.name", "phase.0.lr.initial", "phase.1.lr.initial"),
    ]
    places = [header.index(name) for name in promised]
    assert places == sorted(places)
    assert len(set(header)) == len(header)
    assert "val_extra" in header
    assert set(header) >= set(index.get(index.ids())[0].config)


def test_header_of_an_empty_store_is_whole(index: Index) -> None:
    text = runs_csv(index)
    assert text.startswith("run_id,name,") and text.count("\r\n") == 1
    assert "test_accuracy" in text and "train_seconds" in text


def test_rfc_4180(home: Home, index: Index) -> None:
    fill(home)
    text = runs_csv(index)
    assert text.endswith("\r\n")
    assert len(read(text)) == 3
    assert {len(row) for row in csv.reader(io.StringIO(text, newline=""))} == {
        len(text.partition("\r\n")[0].split(","))
    }


def test_missing_and_not_finite_are_empty(home: Home, index: Index) -> None:
    fill(home)
    rows = read(runs_csv(index))
    assert rows[1]["val_loss"] == "" and rows[1]["val_extra"] == "0.25"
    assert rows[2]["test_accuracy"] == "" and rows[0]["phase.1.lr.initial"] == ""
    assert [export.cell(v) for v in (None, float("nan"), float("inf"))] == ["", "", ""]


def test_text_is_guarded_against_formulas_and_numbers_are_not(home: Home, index: Index) -> None:
    for i, name in enumerate(NASTY):
        make_run(home, name=name, created=1e9 + i, metrics={"val_extra": -0.5}, steps=0)
    rows = read(runs_csv(index))
    for name, row in zip(NASTY, rows, strict=True):
        shown = name.replace("\r", "\\r")
        assert row["name"] == ("'" + shown if name[0] in "=+-@\t" else shown)
        assert row["val_extra"] == "-0.5"


def test_pandas_reads_it_with_the_right_types(home: Home, index: Index) -> None:
    fill(home)
    frame = pd.read_csv(
        io.StringIO(runs_csv(index), newline=""), parse_dates=["created", "started", "ended"]
    )
    kinds = {name: frame[name].dtype.kind for name in frame}
    for name in ("test_accuracy", "val_loss", "phase.0.lr.initial", "train_seconds"):
        assert kinds[name] == "f", name
    for name in ("train.batch_size", "train.seed", "attempt", "epochs_done"):
        assert kinds[name] == "i", name
    assert frame["train.mixed_precision"].dtype == bool
    assert kinds["created"] == "M"
    assert pd.api.types.is_string_dtype(frame["run_id"])
    assert frame["created"][0] == pd.Timestamp("2001-09-09T01:46:40Z")
    assert frame["test_accuracy"].tolist()[:2] == [0.86, 0.86]
    assert json.loads(frame["head.hidden"][1]) == [128, 64]


def test_duckdb_reads_it_with_the_right_types(home: Home, index: Index, tmp_path: Path) -> None:
    fill(home)
    path = tmp_path / "runs.csv"
    path.write_bytes(runs_csv(index).encode())
    table = duckdb.sql(f"SELECT * FROM read_csv('{path}')")
    kinds = dict(zip(table.columns, map(str, table.types), strict=True))
    assert kinds["run_id"] == kinds["name"] == "VARCHAR"
    assert kinds["test_accuracy"] == kinds["phase.0.lr.initial"] == "DOUBLE"
    assert kinds["train.batch_size"] == kinds["trainable_parameters"] == "BIGINT"
    assert kinds["train.mixed_precision"] == "BOOLEAN"
    assert kinds["created"].startswith("TIMESTAMP")
    found = duckdb.sql(f"SELECT max(test_accuracy), count(*) FROM read_csv('{path}')").fetchall()
    assert found == [(0.86, 3)]


def test_epochs_in_pandas_and_duckdb(home: Home, index: Index, tmp_path: Path) -> None:
    fill(home)
    text = epochs_csv(home, index)
    path = tmp_path / "epochs.csv"
    path.write_bytes(text.encode())
    frame = pd.read_csv(path)
    assert len(frame) == 10
    assert list(frame.columns) == list(export.EPOCH_COLUMNS)
    assert frame["epoch"].dtype.kind == "i" and frame["val_accuracy"].dtype.kind == "f"
    assert frame["best"].dtype == bool
    table = duckdb.sql(f"SELECT name, max(epoch), max(val_accuracy) FROM '{path}' GROUP BY ALL")
    assert sorted(table.fetchall()) == [("'-then, full\n", 5, 0.87), ("head-1e-4", 5, 0.87)]


def test_a_single_run_keeps_its_id(home: Home, index: Index) -> None:
    run = make_run(home)
    frame = pd.read_csv(io.StringIO(runs_csv(index), newline=""))
    assert frame["run_id"].tolist() == [run.id]


def test_record_holds_metrics_at_the_top_and_columns_win(home: Home, index: Index) -> None:
    run = make_run(home, config={"name": "impostor", "device": "toaster"})
    index.refresh()
    found = export.record(index.get([run.id])[0])
    assert found["test_accuracy"] == 0.86 and found["phase.0.lr.initial"] == 1e-4
    assert (found["run_id"], found["name"], found["device"]) == (run.id, "head-1e-4", "cpu")


def test_same_bytes_every_time(home: Home, index: Index) -> None:
    fill(home)
    first = runs_csv(index)
    index.rebuild()
    assert runs_csv(index) == first


def test_control_characters_become_visible(home: Home, index: Index) -> None:
    make_run(home, name="a\x1b[2J\x00\x9b\udce9\r", metrics={"=1\x1b[2J": 0.5}, steps=0)
    (row,) = read(runs_csv(index))
    assert row["name"] == "a\\x1b[2J\\x00\\x9b\\xe9\\r"
    assert row["'=1\\x1b[2J"] == "0.5", "names of columns, too, are theirs"


def write_x(out: io.TextIOBase) -> int:
    return out.write("x\r\n")


def test_save_never_overwrites_without_force(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    export.save(str(path), False, write_x)
    path.write_text("precious")
    with pytest.raises(TluiError, match="--force"):
        export.save(str(path), False, write_x)
    assert path.read_text() == "precious"
    export.save(str(path), True, write_x)
    assert path.read_bytes() == b"x\r\n"
    assert [p.name for p in tmp_path.iterdir()] == ["out.csv"]


@pytest.mark.parametrize(("folder", "file"), [(0o700, 0o600), (0o755, 0o664)])
def test_an_export_is_as_private_as_its_folder(tmp_path: Path, folder: int, file: int) -> None:
    place = tmp_path / "place"
    place.mkdir()
    place.chmod(folder)
    before = os.umask(0o002)
    try:
        export.save(str(place / "out.csv"), False, write_x)
        export.save(str(place / "out.csv"), True, write_x)
    finally:
        os.umask(before)
    assert (place / "out.csv").stat().st_mode & 0o777 == file


def test_save_through_a_link_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out.csv").symlink_to(tmp_path / "nowhere")
    with pytest.raises(TluiError, match="already exists"):
        export.save(str(tmp_path / "out.csv"), False, write_x)
    assert not (tmp_path / "nowhere").exists()


def test_save_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(out: object) -> int:
        raise OSError(28, "No space left on device")

    with pytest.raises(TluiError, match="No space left"):
        export.save(str(tmp_path / "out.csv"), False, fail)
    with pytest.raises(TluiError, match="cannot be written"):
        export.save(str(tmp_path / "no" / "folder" / "out.csv"), False, write_x)
    with pytest.raises(TluiError, match="is a folder"):
        export.save(str(tmp_path), True, write_x)
    assert list(tmp_path.iterdir()) == []


def test_diverged_run_exports_valid(home: Home, index: Index) -> None:
    run = make_run(home, state="diverged")
    with open(run.events, "a") as file:
        file.write('{"type":"epoch","t":1,"epoch":3,"train_loss":null,"val_loss":null}\n')
    write_json(run.result, {"metrics": {"val_loss": float("nan"), "val_accuracy": 0.2}})
    assert read(runs_csv(index))[0]["val_loss"] == ""
    assert read(epochs_csv(home, index))[2]["train_loss"] == ""
