"""The lengths that codes are cut to. No imports: settings and reports need them without torch."""

LENGTHS = (1, 2, 3, 4, 8, 16)
# what a comparison shows beside the codes as trained
HEADLINE_LENGTH = 3
AS_TRAINED = "as_trained"
