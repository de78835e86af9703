"""How does another library load a trained model? One module a format."""

from solo_bayesncl.sharing.formats.base import Format
from solo_bayesncl.sharing.formats.onnx import OnnxFormat
from solo_bayesncl.sharing.formats.safetensors import SafetensorsFormat
from solo_bayesncl.sharing.formats.timm import TimmFormat
from solo_bayesncl.sharing.formats.torchvision import TorchvisionFormat

FORMATS: dict[str, type[Format]] = {
    "torchvision": TorchvisionFormat,
    "timm": TimmFormat,
    "safetensors": SafetensorsFormat,
    "onnx": OnnxFormat,
}

__all__ = ["FORMATS", "Format"]
