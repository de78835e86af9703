"""The narrow ResNet in processes that tests start: Python imports this where `tests/support` is on
PYTHONPATH, which the fixture `narrow_backbone` sees to.
"""

import importlib.util
import sys


class NarrowBackbone:
    """Replaces torchvision's resnet18 as soon as it is imported, and is not in the way before."""

    @classmethod
    def find_spec(cls, name: str, path: object = None, target: object = None):
        if name != "torchvision.models":
            return None
        sys.meta_path.remove(cls)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def load_narrow(module) -> None:
            load(module)
            from narrow_resnet import narrow_resnet18

            module.resnet18 = narrow_resnet18

        spec.loader.exec_module = load_narrow
        return spec


sys.meta_path.insert(0, NarrowBackbone)
