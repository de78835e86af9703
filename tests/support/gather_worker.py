"""What the processes of `test_adapters.py` run; a module of its own, so that they can import it."""

import importlib
import sys
from pathlib import Path

import torch

from solo_bayesncl.losses import gather


def gather_gradient(rank: int, rows: torch.Tensor) -> torch.Tensor:
    """Gradient of a nonlinear function of gathered rows, of the rows of one of two processes."""
    own = rows.chunk(2)[rank].clone().requires_grad_()
    everything, _ = gather(own, torch.arange(len(own)))
    # each process sums over its own rows against all, as losses do
    ((own @ everything.T) ** 3).sum().backward()
    return own.grad


def attributes_of_solo_learn() -> dict[tuple[str, str], object]:
    """What solo-learn's modules and their classes hold, by place."""
    modules = {name: module for name, module in sys.modules.items() if name.startswith("solo.")}
    places = dict(modules)
    for module in modules.values():
        for value in vars(module).values():
            if isinstance(value, type) and value.__module__ in modules:
                places[f"{value.__module__}.{value.__qualname__}"] = value
    return {
        (place, name): value
        for place, owner in places.items()
        for name, value in vars(owner).items()
    }


def changed_in_solo_learn(folder: str) -> None:
    """Writes what registering and patching change in solo-learn, one line each."""
    for name in ("methods", "methods.linear", "utils.misc", "utils.checkpointer", "utils.lars"):
        importlib.import_module(f"solo.{name}")
    before = attributes_of_solo_learn()
    methods = dict(sys.modules["solo.methods"].METHODS)

    def changed() -> list[str]:
        now = attributes_of_solo_learn()
        return [".".join(place) for place in before if before[place] is not now.get(place)]

    from solo_bayesncl.adapters import adapter
    from solo_bayesncl.methods import METHODS, register

    steps = [[*changed(), *(set(adapter().METHODS) - set(methods))]]
    register()
    steps.append([*changed(), *(set(adapter().METHODS) - set(methods) - set(METHODS))])
    adapter().patch_solo_learn()
    steps.append(changed())
    (Path(folder) / "changed").write_text("\n".join(" ".join(step) for step in steps))


if __name__ == "__main__":
    changed_in_solo_learn(sys.argv[1])
