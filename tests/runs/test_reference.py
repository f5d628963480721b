import pytest
from factory import make_run

from tlui.errors import TluiError
from tlui.runs.directory import Home
from tlui.runs.reference import resolve, resolve_all


def test_id_prefix_name_and_last(home: Home) -> None:
    first = make_run(home, name="head", created=1e9)
    last = make_run(home, name="full", created=2e9)
    for reference in (first.id, first.id[:7], f"#{first.id[:7]}", "head", f"head#{first.id[:2]}"):
        assert resolve(home, reference) == first
    assert resolve(home, "@last") == resolve(home, "@1") == last
    assert resolve(home, "@2") == first
    assert resolve(home, f"head #{first.id[:3]}".replace(" ", "")) == first
    assert resolve_all(home, ["full", "@last", "head"]) == [last, first]


def test_title_as_shown_is_a_reference(home: Home) -> None:
    run = make_run(home, name="head")
    make_run(home, name="head")
    assert resolve(home, f"head #{run.id}") == run


def test_several_are_listed(home: Home) -> None:
    runs = [make_run(home, name="head") for _ in range(3)]
    with pytest.raises(TluiError) as caught:
        resolve(home, "head")
    assert caught.value.code == 2
    assert all(run.id in str(caught.value) for run in runs)


def test_of_namesakes_the_only_one_that_fits_is_meant(home: Home) -> None:
    runs = [make_run(home, name="head", created=1e9 + at) for at in range(25)]
    assert resolve(home, "head", fits=lambda run: run == runs[0]) == runs[0], "the oldest as well"
    for fitting in ([], runs[:2]):
        with pytest.raises(TluiError, match="may be any of these"):
            resolve(home, "head", fits=fitting.__contains__)
    assert resolve(home, runs[1].id, fits=lambda run: run == runs[0]) == runs[1]


def test_id_wins_over_name(home: Home) -> None:
    first = make_run(home)
    make_run(home, name=first.id)
    assert resolve(home, first.id) == first


def test_none_names_the_nearest(home: Home) -> None:
    run = make_run(home, name="head-1e-4")
    with pytest.raises(TluiError, match=f"(?s)did you mean:.*{run.id}.*head-1e-4"):
        resolve(home, "haed-1e-4")
    with pytest.raises(TluiError, match="tlui ls"):
        resolve(home, "zzz")


@pytest.mark.parametrize("reference", ["@0", "@9", "@x", "@", "", "../..", "/etc", "x\x1b[31m"])
def test_what_names_nothing_is_refused(home: Home, reference: str) -> None:
    make_run(home)
    with pytest.raises(TluiError) as caught:
        resolve(home, reference)
    assert "\x1b" not in str(caught.value)


def test_empty_store(home: Home) -> None:
    with pytest.raises(TluiError, match="no runs at all"):
        resolve(home, "head")
    with pytest.raises(TluiError, match="there are 0 runs"):
        resolve(home, "@last")
