"""The program that keeps files on a host, as a class: no connection is needed."""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from SparseAnnotateLib.remote import on_host

AREA = "cohorts/" + "0123456789abcdef" * 2 + "/copy"


def quiet(_text: str) -> None:
    """No report."""


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def keeper_in(folder: Path) -> on_host.Keeper:
    keeper = on_host.Keeper()
    keeper.facts(str(folder), quiet)
    return keeper


def placed(keeper: on_host.Keeper, wanted: dict[str, bytes]) -> dict[str, bytes]:
    """What is in an area after it was asked to hold these contents, as `HostFiles.send` asks."""
    files = {name: [len(content), sha(content)] for name, content in wanted.items()}
    by_sha = {sha(content): content for content in wanted.values()}
    for _attempt in range(4):
        answer = keeper.place(AREA, files, [], [], quiet)
        for missing in answer["missing"]:
            keeper.receive(AREA, missing, base64.b64encode(by_sha[missing]).decode(), quiet)
        if not answer["missing"] and not answer["placed"]:
            break
    else:
        raise AssertionError("never finished")
    return {name: (Path(keeper.root) / AREA / name).read_bytes() for name in wanted}


def test_images_that_have_exchanged_their_names_are_put_in_the_right_places(tmp_path):
    keeper = keeper_in(tmp_path / "there")
    first, second, third = (letter * 1000 for letter in (b"a", b"b", b"c"))
    for wanted in (
        {"images/a": first, "images/b": second},
        {"images/a": second, "images/b": first},
        {"images/a": third, "images/b": second},
        {"images/a": second, "images/b": third, "images/c": second},
    ):
        assert placed(keeper, wanted) == wanted
    assert not list((tmp_path / "there").rglob("*.placing"))


def test_a_source_that_is_not_what_it_was_is_sent_again(tmp_path, monkeypatch):
    keeper = keeper_in(tmp_path / "there")
    placed(keeper, {"a": b"a" * 1000})
    wrong = {"a": [1000, sha(b"b" * 1000)]}  # as from a memo that was written before the file changed
    monkeypatch.setattr(keeper, "contents", lambda area, under, report, **_how: wrong)
    answer = keeper.place(AREA, {"b": [1000, sha(b"b" * 1000)]}, [], [], quiet)
    assert answer == {"missing": [sha(b"b" * 1000)], "placed": 0}
    assert not (tmp_path / "there" / AREA / "b").exists()


def test_two_connections_do_not_share_what_arrives_and_what_is_offered(tmp_path):
    one, other = keeper_in(tmp_path / "there"), keeper_in(tmp_path / "there")
    assert one.incoming(AREA, quiet) != one.incoming(AREA + "2", quiet)
    placed(one, {"a": b"a"})
    folders = [keeper.offer(AREA, {"a": sha(b"a")}, quiet) for keeper in (one, other)]
    other.withdraw(quiet)
    assert (Path(folders[0]) / sha(b"a")).read_bytes() == b"a"


def test_a_folder_with_other_things_in_it_is_refused_and_unchanged(tmp_path):
    folder = tmp_path / "mine"
    (folder / "cohorts" / "livers").mkdir(parents=True)
    (folder / "cohorts" / "livers" / "thesis.tex").write_text("x")
    folder.chmod(0o755)
    with pytest.raises(on_host.Problem, match=r"has other files in it, such as 'cohorts'.*mine/sparse-annotate'"):
        keeper_in(folder)
    assert folder.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in folder.iterdir()] == ["cohorts"]
    (tmp_path / "empty").mkdir(mode=0o755)
    keeper_in(tmp_path / "empty")
    keeper_in(tmp_path / "empty")
    assert (tmp_path / "empty").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "empty" / "cohorts").stat().st_mode & 0o077 == 0


def test_cleaning_removes_nothing_but_what_was_copied(tmp_path):
    keeper = keeper_in(tmp_path / "there")
    placed(keeper, {"a": b"a"})
    own = [
        tmp_path / "there" / name / "thesis.tex"
        for name in (os.path.dirname(AREA) + "/mine", "cohorts/livers/copy", "versions/v1", "environments/mine")
    ]
    for path in own:
        path.parent.mkdir(parents=True)
        path.write_text("x")
    assert keeper.clean(True, quiet)["kept"] == []
    assert all(path.is_file() for path in own)
    assert not (tmp_path / "there" / AREA).exists()


def test_a_quota_that_is_used_up_is_reported_and_what_was_there_stays(tmp_path, monkeypatch):
    keeper = keeper_in(tmp_path / "there")
    placed(keeper, {"a": b"a"})

    def refused(path, mode="r", *rest, **more):
        if "w" in mode:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), path)
        return open(path, mode, *rest, **more)

    monkeypatch.setattr(on_host, "open", refused, raising=False)
    assert "Your disk quota is used up" in keeper.free(quiet)["why"]
    params = {"area": AREA, "sha": sha(b"b"), "content": base64.b64encode(b"b").decode()}
    answer = on_host.answer(keeper, {"id": 1, "method": "receive", "params": params}, lambda _message: None)
    assert "Your disk quota is used up. Free some space there" in answer["error"]["message"]
    monkeypatch.undo()
    assert keeper.free(quiet)["why"] == ""
    assert placed(keeper, {"a": b"a", "b": b"b"}) == {"a": b"a", "b": b"b"}


def test_a_folder_that_cannot_be_made_is_reported_with_what_to_do(tmp_path):
    (tmp_path / "file").touch()
    params = {"folder": str(tmp_path / "file" / "there")}
    answer = on_host.answer(on_host.Keeper(), {"id": 1, "method": "facts", "params": params}, lambda _message: None)
    assert answer["error"]["message"].startswith(f"'{tmp_path / 'file'}' cannot be used (")
    assert answer["error"]["message"].endswith("Check it there, or choose another folder with '--folder'.")


def test_it_ends_when_it_hears_nothing_more(tmp_path):
    """As from a computer that was switched off: the connection stays open, and nothing arrives."""
    text = Path(on_host.__file__).read_text().replace("SILENCE_SECONDS = 30.0", "SILENCE_SECONDS = 0.5")
    process = subprocess.Popen([sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.wait(30) == 0
    process.communicate()


def test_cleaning_removes_what_a_killed_connection_offered_and_nothing_that_is_still_copied(tmp_path):
    root = tmp_path / "there"
    killed, copying = keeper_in(root), keeper_in(root)
    placed(copying, {"a": b"1"})
    for keeper in (killed, copying):
        keeper.offer(AREA, {"a": sha(b"1")}, quiet)
    killed.offering.close()  # as the system does
    keeper_in(root).clean(False, quiet)
    assert [path.name for path in (root / "outgoing").iterdir()] == [copying.own]
    copying.withdraw(quiet)
    assert not list((root / "outgoing").iterdir())
