"""Which keys hold paths and text: read from the models of recipes and comparisons."""

from solo_bayesncl.comparison.config import ComparisonConfig
from solo_bayesncl.recipes.keys import path_keys, text_keys
from solo_bayesncl.recipes.schema import LinearRecipe, PretrainRecipe


def test_path_keys_are_those_of_the_models():
    shared = {"data.train_path", "data.val_path", "checkpoint.dir", "resume_from_checkpoint"}
    assert shared <= set(path_keys(PretrainRecipe))
    assert set(path_keys(LinearRecipe)) >= shared | {"pretrained_feature_extractor"}
    assert {"out", "pretrain", "linear", "evaluation.metadata"} <= set(path_keys(ComparisonConfig))


def test_text_keys_are_paths_and_names():
    keys = set(text_keys(PretrainRecipe))
    assert keys >= {*path_keys(PretrainRecipe), "method", "backbone.name", "optimizer.name"}
    assert not keys & {"precision", "max_epochs", "seed", "optimizer.lr", "method_kwargs"}
