"""What has a trained model learned? Encodes a data set, measures the codes, explains dimensions."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "encoding": ["encode_splits"],
        "evaluated_model": ["EvaluatedModel"],
        "explanation": ["Explanation", "describe_image", "explain"],
        "forward": ["Outputs"],
        "measurement": ["measure"],
        "options": ["Options"],
        "record": ["Findings", "evaluation_of", "write_evaluation"],
    },
)
