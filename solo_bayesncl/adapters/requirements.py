"""Does the installed solo-learn find what it imports? Told from metadata: nothing is imported."""

import importlib.metadata
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

OURS = "solo-bayesncl"

# adapter -> what its release imports. The pins in solo-learn's metadata are tighter than its code.
_IMPORTED = {
    "solo_bayesncl.adapters.main": (
        "torch", "torchvision", "timm", "lightning", "torchmetrics", "omegaconf", "scipy",
    ),
    "solo_bayesncl.adapters.v1_0_2": (
        "torch", "torchvision", "timm", "pytorch-lightning<2", "lightning-bolts", "torchmetrics",
        "einops", "scipy",
    ),
}  # fmt: skip
# (package, another) of which the first is compiled for one version of the other
_COMPILED = {("torchvision", "torch")}
# package -> file of it that imports pkg_resources in the versions that do
_MAY_NEED_PKG_RESOURCES = {
    "lightning": "lightning/fabric/__init__.py",
    "pytorch-lightning": "pytorch_lightning/__init__.py",
    "torchmetrics": "torchmetrics/utilities/imports.py",
}


def obstacles(adapter: str) -> list[str]:
    """What keeps a release of solo-learn from being imported, a sentence each.

    Missing packages, those that they need in turn, and versions that are known not to work. Other
    bounds on versions are no obstacles: most are a precaution.

    Args:
        adapter: its module, as `installed.find` returns it.
    """
    imported = _IMPORTED[adapter]
    found = [*unmet(imported, "solo-learn", all_bounds=True), *unmet(_required_by(OURS), OURS)]
    if PathFinder.find_spec("pkg_resources") is None:
        names = {canonicalize_name(Requirement(each).name) for each in imported}
        found += [
            f"{name} {importlib.metadata.version(name)} needs pkg_resources, which setuptools has "
            'before version 81 or so: pip install "setuptools<81".'
            for name in _MAY_NEED_PKG_RESOURCES.keys() & names
            if _mentions_pkg_resources(name)
        ]
    return list(dict.fromkeys(found))


def unmet(
    requirements: Iterable[str],
    needed_by: str,
    all_bounds: bool = False,
    seen: set[str] | None = None,
) -> Iterator[str]:
    """A sentence for each requirement that is not met, and for each that those packages have.

    Args:
        requirements: as packages declare them.
        needed_by: the package, for messages.
        all_bounds: whether a version out of bounds counts, not a missing package alone.
        seen: packages whose requirements are known.
    """
    seen = set() if seen is None else seen
    for requirement in _parsed(requirements):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        name = canonicalize_name(requirement.name)
        try:
            version = importlib.metadata.version(name)
        except PackageNotFoundError:
            yield f"{name} is not installed, and {needed_by} needs it."
            continue
        bounded = all_bounds or (needed_by, name) in _COMPILED
        if bounded and not _is_within(version, requirement.specifier):
            yield f"{needed_by} needs {name}{requirement.specifier}, and {version} is installed."
        if name not in seen:
            seen.add(name)
            yield from unmet(_required_by(name), name, seen=seen)


def _parsed(requirements: Iterable[str]) -> Iterator[Requirement]:
    """Without those, such as `torch (>=1.8.*)`, that only tools of their own time can read."""
    for requirement in requirements:
        with suppress(InvalidRequirement):
            yield Requirement(requirement)


def _is_within(version: str | None, bounds: SpecifierSet) -> bool:
    """True, too, of what is not a version: None is that of a package with damaged metadata."""
    try:
        return bounds.contains(version, prereleases=True)
    except (InvalidVersion, TypeError):
        return True


def _required_by(name: str) -> list[str]:
    try:
        return importlib.metadata.requires(name) or []
    except PackageNotFoundError:  # in a clone that is not installed
        return []


def _mentions_pkg_resources(name: str) -> bool:
    try:
        file = importlib.metadata.distribution(name).locate_file(_MAY_NEED_PKG_RESOURCES[name])
        return "pkg_resources" in file.read_text(encoding="utf-8")
    except (PackageNotFoundError, OSError):  # not installed, or as a link to its source
        return False
