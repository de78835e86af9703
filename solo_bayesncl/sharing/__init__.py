"""How is a trained model used outside of training, in other libraries, or from the official code?

Importing this package loads the encoder alone; `export` and `import_official` are imported by name.
"""

from solo_bayesncl.sharing.encoder import Description, Dimension, Encoder

__all__ = ["Description", "Dimension", "Encoder"]
