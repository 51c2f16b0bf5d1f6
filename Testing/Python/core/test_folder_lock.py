from __future__ import annotations

import errno
import logging
import os

import pytest

from SparseAnnotateLib.core import BusyError, folder_lock
from SparseAnnotateLib.core.folder_lock import FolderLock


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EIO])
def test_a_file_system_without_locks_is_worked_on_and_this_is_reported_once(tmp_path, monkeypatch, caplog, number):
    def no_locks(file):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(folder_lock, "_lock", no_locks)
    waits = []
    monkeypatch.setattr(folder_lock.time, "sleep", waits.append)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            with FolderLock(tmp_path, "working", wait_seconds=10):
                pass
    assert waits == []
    (record,) = caplog.records
    assert f"'{tmp_path}' does not support locks ({os.strerror(number)})" in record.getMessage()


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EACCES])
def test_a_lock_that_another_has_is_waited_for_and_its_holder_named(tmp_path, monkeypatch, number):
    def held(file):
        raise OSError(number, os.strerror(number))

    with FolderLock(tmp_path, "training"):
        monkeypatch.setattr(folder_lock, "_lock", held)
        with pytest.raises(BusyError, match=rf"process {os.getpid()} on .* is training"), FolderLock(tmp_path, "x"):
            pass


def test_a_lock_is_given_back_when_its_file_cannot_be_cleared(tmp_path, monkeypatch):
    lock = FolderLock(tmp_path, "working")
    lock.__enter__()
    with monkeypatch.context() as patched:
        patched.setattr(os, "ftruncate", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
        lock.__exit__()
    with FolderLock(tmp_path, "again"):
        pass
