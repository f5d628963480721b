import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from factory import make_run
from hypothesis import given, settings
from hypothesis import strategies as st

from tlui.errors import TluiError
from tlui.runs.directory import Home
from tlui.runs.index import Index
from tlui.runs.marks import mark
from tlui.runs.query import FilterError


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """Six runs named a to f that differ in everything one may ask for."""
    import os

    folder: Path = tmp_path_factory.mktemp("query")
    os.environ["TLUI_CACHE"] = str(folder / "cache")
    home = Home.at(folder / "home")
    now = time.time()
    make_run(home, name="a", top=0.95, config={"phase.0.lr.initial": 1e-4}, created=now - 60)
    make_run(home, name="b", top=0.8, config={"phase.0.lr.initial": 1e-6}, created=now - 3e5)
    make_run(
        home,
        name="c",
        config={"dataset.name": "food-101", "phase.1.lr.initial": 1e-5, "tags": ["x", "deep"]},
        metrics={"test_accuracy": 0.5},
    )
    make_run(home, name="d_100%", state="failed", reason="out of memory", top=0.6)
    make_run(home, name="e", state="queued", config={"train.mixed_precision": True})
    f = make_run(home, name="f", config={"dataset.name": None, "dataset.path": "/data/my pcam/"})
    mark(home, [f.id], note="the Best one", pinned=True)
    with Index(home) as found:
        found.refresh()
        yield found


def names(index: Index, text: str, sort: str = "name") -> str:
    return "".join(row.name[0] for row in index.rows(text, sort, fresh=False))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "abcdef"),
        ("cfg.lr>=1e-5", "acdef"),
        ("cfg.lr=1e-6", "b"),
        ("cfg.lr:1e-6,1e-4", "abcdef"),
        ("lr<1e-5", "b"),
        ("lr:1e-6", "b"),
        ("lr:0.000001", "b"),
        ("phase.1.lr.initial:*", "c"),
        ("-cfg.phase.1.lr.initial:*", "abdef"),
        ("dataset:intel", "abde"),
        ("dataset:INTEL,food", "abcde"),
        ("dataset=food-101", "c"),
        ("dataset=food", ""),
        ("dataset:food*1", "c"),
        ('dataset:"my pcam"', "f"),
        ("dataset!=intel", "cf"),
        ("status:finished", "abcf"),
        ("-status:finished", "de"),
        ("status:ended", "abcdf"),
        ("status:live", ""),
        ("status:failed,queued", "de"),
        ("reason:memory", "d"),
        ("val_accuracy>.9", "a"),
        ("val_accuracy>90%", "a"),
        ("val_accuracy<=.8", "bd"),
        ("-val_accuracy>.9", "bcdef"),
        ("test_accuracy:*", "abcf"),
        ("test_accuracy=0.5", "c"),
        ("-test:*", "de"),
        ("cfg.mixed_precision:true", "e"),
        ("mixed_precision:false", "abcdf"),
        ("cfg.train.batch_size>16", "abcdef"),
        ("batch_size:32", "abcdef"),
        ("note:best", "f"),
        ("-note:best", "abcde"),
        ("pinned:true", "f"),
        ("pinned:no", "abcde"),
        ("food", "c"),
        ("best -food", "f"),
        ("deep", "c"),
        ("tag:deep", "c"),
        ("100%", "d"),
        ("_", "d"),
        ("age<1d", "acdef"),
        ("age>2d", "b"),
        ("train_seconds>1m", "abcf"),
        ("created>=2020-01-01", "abcdef"),
        ("created<2020-01", ""),
        ("trainable_parameters>7000", "abcf"),
        ("epoch>=5", "abcf"),
        ("dataset:intel status:finished val_accuracy>.7 -cfg.lr<1e-5", "a"),
    ],
)
def test_filter(index: Index, text: str, found: str) -> None:
    assert names(index, text) == found
    assert index.count(text) == len(found)


@pytest.mark.parametrize(
    ("text", "says", "position"),
    [
        ("ok vla_accuracy>.9", 'column 4: "vla_accuracy" is not a field .*"val_accuracy"', 3),
        ("cfg.droput>.1", 'did you mean "cfg.dropout"', 0),
        ("cfg.name:x", "cfg.backbone.name.*say which", 0),
        ('note:"open', 'column 6: the quote " is never closed', 5),
        ("val_accuracy>", "lacks a value", 13),
        ("test>high", 'wants a number. Received: "high"', 0),
        ("x created>soon", "wants a date", 2),
        ("created:2026-99-99", "is not a date", None),
        ("state:failed,finishd", '"finishd" is not a state .did you mean "finished"', 0),
        ("-status=*runing", '"\\*runing" is not a state .did you mean "running"', 0),
    ],
)
def test_errors_say_where_and_what_is_near(
    index: Index, text: str, says: str, position: int | None
) -> None:
    with pytest.raises(FilterError, match=says) as caught:
        index.count(text)
    assert caught.value.code == 2
    assert position is None or caught.value.position == position


@pytest.mark.parametrize(
    ("sort", "found"),
    [
        ("name", "abcdef"),
        ("-name", "fedcba"),
        ("-val_accuracy,name", "acfbde"),
        ("val_accuracy,name", "dbcfae"),
        ("cfg.lr,-name", "bfedca"),
        ("-lr,name", "acdefb"),
        ("-pinned,name", "fabcde"),
        ("-test,name", "afbcde"),
        ("age,name", None),
    ],
)
def test_sort_puts_missing_last(index: Index, sort: str, found: str | None) -> None:
    got = names(index, "", sort)
    assert sorted(got) == list("abcdef")
    assert found is None or got == found


def test_sort_by_nothing_known(index: Index) -> None:
    with pytest.raises(FilterError, match="did you mean"):
        index.rows(sort="-val_acuracy")


@settings(max_examples=300, deadline=None)
@given(
    st.text(alphabet=st.sampled_from(list("abcfg.lr_:=<>!-\"'*,% ;%\\()1e5x\n\x00ü")), max_size=40)
)
def test_any_text_is_a_filter_or_an_error_for_people(index: Index, text: str) -> None:
    try:
        index.count(text)
        index.ids(text, "-created")
    except TluiError as error:
        assert str(error)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=30))
def test_any_text_is_a_sort_key_or_an_error_for_people(index: Index, text: str) -> None:
    try:
        index.ids("", text)
    except TluiError as error:
        assert str(error)
