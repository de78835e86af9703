"""--debug adds a traceback to every error; without it, an error is one message."""

import platform

import pytest
from conftest import RECIPES

from solo_bayesncl.__main__ import main

REFUSED = {
    "evaluate": ("evaluate", "/nope"),
    "doctor": ("doctor", "--nope"),
    "compare": ("compare", "--config-name", "nope"),
    "pretrain": ("pretrain", "--config-path", str(RECIPES / "pretrain/custom"), "-cn", "ncl"),
    "nope.py": ("nope.py",),
    "no command": (),
}


@pytest.mark.parametrize("arguments", REFUSED.values(), ids=REFUSED)
def test_debug_shows_where_a_refusal_comes_from(arguments, capsys):
    assert main(["--debug", *arguments]) == 2
    traceback, _, message = capsys.readouterr().err.rpartition("solo-bayesncl: ")
    assert traceback.startswith("Traceback (most recent call last)")
    assert main([*arguments]) == 2
    assert capsys.readouterr().err == f"solo-bayesncl: {message}"


def test_debug_may_stand_anywhere(capsys):
    assert main(["compare", "--debug", "--config-name", "nope"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_debug_behind_the_name_of_a_script_is_the_scripts(tmp_path, capsys):
    script = tmp_path / "script.py"
    script.write_text("import sys\nprint(sys.argv[1:])\n")
    assert main(["--debug", str(script), "--debug", "x"]) == 0
    assert capsys.readouterr().out == "['--debug', 'x']\n"


def test_the_error_of_a_script_is_the_scripts(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        main([str(script)])


@pytest.mark.parametrize("debug", [True, False])
def test_what_nobody_foresaw_is_one_message_and_status_1(monkeypatch, capsys, debug):
    def fail():
        raise RuntimeError("no such version")

    monkeypatch.setattr(platform, "python_version", fail)
    assert main(["doctor", *["--debug"] * debug]) == 1
    before, _, message = capsys.readouterr().err.rpartition("solo-bayesncl: ")
    assert message == "unexpected RuntimeError: no such version (--debug shows where)\n"
    assert ("Traceback" in before) == debug
