"""Demo data sets made from what the installation already contains: nothing is downloaded."""

from solo_bayesncl.data.digits import make_digits
from solo_bayesncl.data.folder import Summary
from solo_bayesncl.data.glyphs import make_glyphs

__all__ = ["make_glyphs", "make_digits", "Summary"]
