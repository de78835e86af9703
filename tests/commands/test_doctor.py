"""What `doctor` says of DALI; what it says of solo-learn is in test_commands.py."""

import sys
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from solo_bayesncl.__main__ import main
from solo_bayesncl.commands import doctor


@pytest.fixture
def say(monkeypatch, capsys):
    """Runs the command and returns what it prints, in lines that are not wrapped."""
    monkeypatch.setattr(doctor, "console", Console(width=300))

    def run() -> str:
        assert main(["doctor"]) == 0
        return capsys.readouterr().out

    return run


@pytest.fixture
def dali(monkeypatch):
    """Makes it seem that DALI is (or is not) installed, beside a torch for some CUDA."""

    def install(cuda_version: int | None, torch_cuda: str | None) -> None:
        module = cuda_version and SimpleNamespace(
            __version__="2.4.0", __cuda_version__=cuda_version
        )
        monkeypatch.setitem(sys.modules, "nvidia.dali", module)
        monkeypatch.setattr(torch.version, "cuda", torch_cuda)

    return install


def row(text: str, name: str) -> str:
    (line,) = (line for line in text.splitlines() if line.startswith(f"{name} "))
    return line.rstrip()


@pytest.mark.parametrize(
    ("torch_cuda", "package"),
    [
        ("13.0", "nvidia-dali-cuda130"),
        ("12.6", "nvidia-dali-cuda120"),
        (None, "nvidia-dali-cuda130"),
    ],
)
def test_it_names_the_dali_that_fits_torch(say, dali, torch_cuda, package):
    dali(None, torch_cuda)
    assert row(say(), "DALI").endswith(f"for it: pip install {package}")


@pytest.mark.parametrize("torch_cuda", ["13.0", None])
def test_a_dali_that_fits_torch_needs_nothing(say, dali, torch_cuda):
    dali(13492, torch_cuda)
    line = row(say(), "DALI")
    assert "2.4.0 for CUDA 13" in line
    assert "pip" not in line


def test_it_says_that_dali_is_built_for_another_cuda(say, dali):
    dali(12986, "13.0")
    line = row(say(), "DALI")
    assert "2.4.0 for CUDA 12" in line
    assert "torch is built for CUDA 13" in line
    assert line.endswith("pip install nvidia-dali-cuda130")
