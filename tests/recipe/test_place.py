from pathlib import Path

import pytest

from tlui.errors import TluiError
from tlui.recipe.place import expanded


def test_home_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert expanded("~/data") == Path("/home/ada/data")
    assert expanded("data/~") == Path("data/~")
    with pytest.raises(
        TluiError, match=r"no home folder ~no-such-user .* \./~no-such-user"
    ) as said:
        expanded("~no-such-user/data")
    assert said.value.code == 2
