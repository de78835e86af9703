"""A folder is locked by one process, as long as that lives."""

import errno
import fcntl
import multiprocessing
import os
import signal

import pytest

from solo_bayesncl.errors import InputError
from solo_bayesncl.locks import is_locked, locked


def _hold(folder, held, fork: bool) -> None:
    with locked(folder):
        if fork and os.fork() == 0:  # a process of a loader, which outlives its parent
            signal.pause()
        held.set()
        signal.pause()


def test_second_process_is_told_who_works_in_the_folder(tmp_path):
    with locked(tmp_path):
        expected = rf"another process is working on it \({tmp_path}: process {os.getpid()} on "
        with pytest.raises(InputError, match=expected), locked(tmp_path):
            pass
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fork", [False, True])
def test_lock_ends_with_a_killed_process(tmp_path, fork):
    context = multiprocessing.get_context("forkserver")
    held = context.Event()
    process = context.Process(target=_hold, args=(tmp_path, held, fork))
    process.start()
    assert held.wait(60)
    assert is_locked(tmp_path)
    process.kill()
    process.join()
    with locked(tmp_path, timeout=5):
        pass


def test_file_system_without_locks_is_used_with_a_warning(tmp_path, monkeypatch, caplog):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    caplog.set_level("WARNING", "solo_bayesncl")
    monkeypatch.setattr(fcntl, "flock", unsupported)
    with locked(tmp_path):
        pass
    assert f"{tmp_path} cannot be locked" in caplog.text
    assert "do not start a run twice" in caplog.text
