"""What `doctor` says of an environment, most of it from metadata, without importing anything."""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

import pytest
from conftest import solo_bayesncl

from solo_bayesncl import adapters, cuda_driver
from solo_bayesncl.__main__ import main
from solo_bayesncl.commands import doctor
from solo_bayesncl.console import PlainConsole

RELEASE, ADAPTER = adapters.find()
OLD_RELEASE = ADAPTER.endswith("v1_0_2")


class Site:
    """A copy, by links, of the folder of installed packages, to change."""

    def __init__(self, folder: Path, monkeypatch):
        installed = sysconfig.get_path("purelib")
        self.folder, self.monkeypatch = folder, monkeypatch
        folder.mkdir()
        for path in Path(installed).iterdir():
            (folder / path.name).symlink_to(path)
        paths = [str(folder) if path == installed else path for path in sys.path]
        monkeypatch.setattr(sys, "path", paths)

    def remove(self, pattern: str) -> None:
        for path in self.folder.glob(pattern):
            path.unlink() if path.is_symlink() else shutil.rmtree(path)

    def install(self, name: str, version: str, *requires: str) -> None:
        """The metadata of a package, in place of those that are there."""
        self.remove(f"{name.replace('-', '_')}-*.dist-info")
        folder = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Dist: {each}" for each in requires]
        (folder / "METADATA").write_text("\n".join(lines))

    def install_torch(self, cuda: str | None) -> None:
        """A torch for another CUDA, which cannot be imported."""
        self.remove("torch")
        (self.folder / "torch").mkdir()
        (self.folder / "torch/__init__.py").write_text("raise AssertionError('imported')")
        (self.folder / "torch/version.py").write_text(f"cuda = {cuda!r}")
        self.monkeypatch.delitem(sys.modules, "torch")


@pytest.fixture
def site(tmp_path, monkeypatch) -> Site:
    return Site(tmp_path / "site", monkeypatch)


@pytest.fixture
def say(monkeypatch, capsys):
    """Runs the command and returns what it prints, in lines that are not wrapped."""
    monkeypatch.setattr(doctor, "console", PlainConsole(width=400))

    def run(*arguments: str, status: int = 0) -> str:
        assert main(["doctor", *arguments]) == status
        return capsys.readouterr().out

    return run


@pytest.fixture
def driver(monkeypatch):
    """Makes it seem that a CUDA driver is installed, or none."""

    def install(version: int = 13000, *devices: str) -> None:
        class Driver:
            def cuInit(self, flags):  # noqa: N802
                return 0

            def cuDriverGetVersion(self, found):  # noqa: N802
                found._obj.value = version

            def cuDeviceGetCount(self, count):  # noqa: N802
                count._obj.value = len(devices)

            def cuDeviceGet(self, device, index):  # noqa: N802
                device._obj.value = 10 + index

            def cuDeviceGetName(self, name, length, device):  # noqa: N802
                name.value = devices[device.value - 10].encode()

        monkeypatch.setattr(cuda_driver.ctypes, "CDLL", lambda name: Driver())

    return install


def row(text: str, name: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(f"{name} ")).rstrip()


def test_a_missing_dependency_is_named(site, say):
    site.remove("timm-*.dist-info")
    text = say(status=2)
    assert f"{RELEASE}, broken" in row(text, "solo-learn")
    assert "timm is not installed, and solo-learn needs it." in text
    assert "Pretraining cannot run." in text


def test_a_missing_dependency_of_a_dependency_is_named(site, say):
    site.remove("lightning_utilities-*.dist-info")
    assert "lightning-utilities is not installed, and " in say(status=2)


def test_a_setuptools_without_pkg_resources_is_found(site, say):
    site.remove("pkg_resources")
    text = say(status=2)
    assert "torchmetrics 0.11.4 needs pkg_resources" in text
    assert 'pip install "setuptools<81"' in text


def test_a_torchvision_for_another_torch_is_found(site, say):
    site.install("torchvision", "0.21.0", "torch==2.6.0")
    assert "torchvision needs torch==2.6.0, and 2." in say(status=2)


@pytest.mark.skipif(not OLD_RELEASE, reason="1.0.2 alone is bound to Lightning 1")
def test_lightning_2_is_refused_beside_1_0_2(site, say):
    site.install("pytorch-lightning", "2.6.6")
    text = say(status=2)
    assert "solo-learn needs pytorch-lightning<2, and 2.6.6 is installed." in text
    assert 'pip install "solo-bayesncl[host]"' in text


def test_bounds_that_are_a_precaution_are_no_obstacle(site, say):
    site.install("tqdm", "99.0")
    site.install("timm", "1.0.31", "tqdm<5", "nothing; extra == 'more'")
    if not OLD_RELEASE:
        site.install("lightning", "2.6.6")  # solo-learn's pin is 2.1.2
    assert "Pretraining can run." in say()


@pytest.mark.parametrize(
    "metadata",
    [("2.1", "numpy (>=1.8.*)"), ("2.1", "not a requirement"), ("dev-unknown",)],
    ids=["old bounds", "nonsense", "no version"],
)
def test_metadata_that_cannot_be_read_are_no_obstacle(site, say, metadata):
    site.install("scipy", *metadata)
    assert "Pretraining can run" in say()


@pytest.mark.parametrize("version", [None, "x = 1", "cuda = "], ids=["none", "no cuda", "torn"])
def test_a_damaged_torch_does_not_stop_it(site, say, version):
    site.install_torch(cuda=None)
    file = site.folder / "torch/version.py"
    file.unlink() if version is None else file.write_text(version)
    assert row(say(), "CUDA").endswith("accelerator=auto runs on the CPU")


@pytest.mark.parametrize("error", [OSError, RuntimeError])  # no library, no operator
def test_import_says_why_torch_cannot_be_imported(tmp_path, error):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/__init__.py").write_text(f"raise {error.__name__}('no libtorch.so')")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = solo_bayesncl("doctor", "--import", env={"PYTHONPATH": path})
    assert done.returncode == 2, done.stderr
    assert row(done.stdout, "CUDA").endswith("torch cannot be imported: no libtorch.so")
    assert "cannot be imported: no libtorch.so" in done.stdout.partition("\n\n")[2]


@pytest.mark.skipif(OLD_RELEASE, reason="1.0.2's scripts do not use Hydra")
def test_a_missing_hydra_is_reported(site, say, monkeypatch):
    site.remove("hydra")
    site.remove("hydra_core-*")
    for name in [name for name in sys.modules if name.split(".")[0] == "hydra"]:
        monkeypatch.delitem(sys.modules, name)
    printed = say(status=2)
    assert "Hydra cannot be imported: No module named 'hydra'" in row(printed, "Hydra plugin")
    assert "hydra-core is not installed, and solo-bayesncl needs it." in printed


def test_without_an_import_it_says_that_nothing_was_imported(say):
    assert "nothing was imported: `solo-bayesncl doctor --import` does" in say()


def test_import_finds_what_metadata_do_not_tell(say, monkeypatch):
    monkeypatch.setitem(sys.modules, ADAPTER, None)  # cannot be imported
    adapters.adapter.cache_clear()
    assert "Pretraining can run." in say()
    text = say("--import", status=2)
    assert f"{RELEASE}, broken" in row(text, "solo-learn")
    assert "is installed but cannot be imported" in text
    adapters.adapter.cache_clear()


def test_import_overrules_metadata(site, say):
    site.remove("timm-*.dist-info")
    say(status=2)
    assert "Pretraining can run." in say("--import")


def test_devices_are_those_of_the_driver(site, say, driver):
    site.install_torch("13.0")
    driver(13010, "NVIDIA H100", "NVIDIA H100")
    text = say()
    assert row(text, "CUDA").split(maxsplit=2)[1:] == ["13.0", "2 device(s): NVIDIA H100"]
    assert "dali.device=gpu or cpu" in text


@pytest.mark.parametrize(
    ("torch_cuda", "reason"),
    [
        ("13.0", "torch is built for CUDA 13.0, the driver is for 12. Update the driver"),
        (None, "torch is built without CUDA"),
    ],
)
def test_devices_that_torch_cannot_use_are_explained(site, say, driver, torch_cuda, reason):
    site.install_torch(torch_cuda)
    driver(12080, "NVIDIA H100")
    line = row(say(), "CUDA")
    assert line.split()[1] == "no"
    assert line.endswith(f"1 device(s): NVIDIA H100, but {reason}")


def test_a_driver_without_devices_is_none(site, say, driver):
    site.install_torch("13.0")
    driver()
    assert row(say(), "CUDA").endswith("accelerator=auto runs on the CPU")


@pytest.mark.parametrize(
    ("torch_cuda", "package"),
    [
        ("13.0", "nvidia-dali-cuda130"),
        ("12.6", "nvidia-dali-cuda120"),
        (None, "nvidia-dali-cuda130"),
    ],
)
def test_it_names_the_dali_that_fits_torch(site, say, torch_cuda, package):
    site.install_torch(torch_cuda)
    site.remove("nvidia_dali*")
    assert row(say(), "DALI").endswith(f"for it: pip install {package}")


@pytest.mark.parametrize("torch_cuda", ["13.0", None])
def test_a_dali_that_fits_torch_needs_nothing(site, say, torch_cuda):
    site.install_torch(torch_cuda)
    site.remove("nvidia_dali*")
    site.install("nvidia-dali-cuda130", "2.4.0")
    line = row(say(), "DALI")
    assert "2.4.0 for CUDA 13" in line
    assert "pip" not in line


def test_it_says_that_dali_is_built_for_another_cuda(site, say):
    site.install_torch("13.0")
    site.remove("nvidia_dali*")
    site.install("nvidia-dali-cuda120", "2.4.0")
    line = row(say(), "DALI")
    assert "2.4.0 for CUDA 12" in line
    assert "torch is built for CUDA 13" in line
    assert line.endswith("pip install nvidia-dali-cuda130")


def test_it_says_that_two_dalis_share_a_folder(site, say):
    site.install_torch("13.0")
    site.install("nvidia-dali-cuda120", "2.4.0")
    site.install("nvidia-dali-cuda130", "2.4.0")
    line = row(say(), "DALI")
    assert "2.4.0 for CUDA 12, 13" in line
    assert "pip uninstall nvidia-dali-cuda120 nvidia-dali-cuda130" in line


def test_a_dali_without_its_dependencies_is_broken(site, say):
    site.remove("nvidia_dali*")
    site.install("nvidia-dali-cuda130", "2.4.0", "nvimgcodec")
    line = row(say(), "DALI")
    assert line.split()[1] == "broken"
    assert line.endswith("nvimgcodec is not installed, and nvidia-dali-cuda130 needs it.")
