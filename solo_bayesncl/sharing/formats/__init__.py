"""How does another library load a trained model? Files of a backbone, or of a whole encoder."""

from solo_bayesncl.sharing.formats.backbone import TimmFormat, TorchvisionFormat
from solo_bayesncl.sharing.formats.base import Format
from solo_bayesncl.sharing.formats.encoder import OnnxFormat, SafetensorsFormat

FORMATS: dict[str, type[Format]] = {
    format_class.name: format_class
    for format_class in (TorchvisionFormat, TimmFormat, SafetensorsFormat, OnnxFormat)
}
