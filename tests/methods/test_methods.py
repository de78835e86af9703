"""The methods in solo-learn's registry: construction, one training step, names, settings."""

from math import isnan, log
from types import SimpleNamespace

import pytest
import torch
from conftest import record_log
from omegaconf import OmegaConf
from torch import nn

import solo_bayesncl
from solo_bayesncl.adapters import adapter
from solo_bayesncl.errors import InputError
from solo_bayesncl.methods.step_log import StepLogMixin
from solo_bayesncl.objective import bayesncl_objective, ncl_objective

solo_bayesncl.register()


def config(method: str, small_crops: int = 0, **method_kwargs):
    return OmegaConf.create(
        {
            "method": method,
            "backbone": {"name": "resnet18"},
            "data": {
                "dataset": "custom",
                "num_classes": 6,
                "num_large_crops": 2,
                "num_small_crops": small_crops,
            },
            "max_epochs": 2,
            "optimizer": {
                "name": "lars",
                "batch_size": 8,
                "lr": 0.4,
                "classifier_lr": 0.1,
                "weight_decay": 1e-4,
                "kwargs": {"momentum": 0.9, "eta": 0.02, "clip_lr": True},
            },
            "scheduler": {"name": "warmup_cosine"},
            "method_kwargs": {
                "proj_hidden_dim": 32,
                "proj_output_dim": 16,
                "temperature": 0.2,
                **method_kwargs,
            },
        }
    )


def build(method: str, **options):
    torch.manual_seed(0)
    model = adapter().build(config(method, **options))
    record_log(model)
    return model


def batch(crops: int = 2, size: int = 8, small: int = 0):
    generator = torch.Generator().manual_seed(1)
    images = [torch.randn(size, 3, 32, 32, generator=generator) for _ in range(crops)]
    images += [torch.randn(size, 3, 16, 16, generator=generator) for _ in range(small)]
    # a loader's dummy indexes: all equal, as if every image were the same one
    return [torch.zeros(size, dtype=torch.long), images, torch.arange(size) % 6]


def test_register_adds_methods_and_backbones_once():
    registries = adapter().METHODS, adapter().BACKBONES
    before = [dict(registry) for registry in registries]
    solo_bayesncl.register()
    assert {"ncl", "bayesncl"} <= registries[0].keys()
    assert "small_resnet" in registries[1]
    assert [*registries] == before


def test_small_resnet_has_four_narrow_stages_without_pooling_before_them():
    backbone = adapter().backbone("small_resnet", "ncl", {}, cifar_stem=True)
    assert [info["num_chs"] for info in backbone.feature_info] == [16, 16, 32, 64, 128]
    assert backbone.forward_features(torch.zeros(2, 3, 32, 32)).shape == (2, 128, 2, 2)
    assert backbone(torch.zeros(2, 3, 24, 24)).shape == (2, 128)
    assert sum(parameter.numel() for parameter in backbone.parameters()) < 310_000


@pytest.mark.parametrize("method", ["ncl", "bayesncl"])
def test_methods_are_solo_learns_simclr(method):
    from solo.methods import SimCLR

    assert issubclass(adapter().METHODS[method], SimCLR)


@pytest.mark.parametrize("method", ["simclr", "ncl", "bayesncl"])
def test_weights_have_the_names_of_official_checkpoints(method):
    prefixes = {name.split(".")[0] for name in build(method).state_dict()}
    expected = {"backbone", "classifier", "projector"}
    assert prefixes == expected | ({"gating_head"} if method == "bayesncl" else set())


def test_official_checkpoint_loads():
    """Names and shapes of the official code's bayesncl, whose heads are numbered 0 and 2."""
    model = build("bayesncl")
    backbone = {k: v for k, v in model.state_dict().items() if k.startswith("backbone.")}
    heads = {
        f"{name}.{layer}.{kind}": torch.randn(*((rows, columns) if kind == "weight" else (rows,)))
        for name in ("projector", "gating_head")
        for layer, rows, columns in ((0, 32, 512), (2, 16, 32))
        for kind in ("weight", "bias")
    }
    classifier = {"classifier.weight": torch.randn(6, 512), "classifier.bias": torch.randn(6)}
    result = model.load_state_dict({**backbone, **heads, **classifier})
    assert result.missing_keys == result.unexpected_keys == []
    torch.testing.assert_close(model.gating_head[2].weight, heads["gating_head.2.weight"])


def test_training_step_of_ncl_is_the_objective_plus_the_classifier():
    model, data = build("ncl", non_neg="relu"), batch()
    model.train()
    total = model.training_step(data, 1)
    model = build("ncl", non_neg="relu")
    z = torch.cat([model(x)["z"] for x in data[1]])
    expected = ncl_objective(z, torch.arange(8).repeat(2), non_neg="relu", temperature=0.2)
    classifier = torch.stack(
        [torch.nn.functional.cross_entropy(model(x)["logits"], data[2]) for x in data[1]]
    ).mean()
    torch.testing.assert_close(total, expected.total + classifier, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rank", [0, 1])
def test_positives_are_numbered_by_place_in_the_global_batch(monkeypatch, rank):
    model = build("bayesncl")
    given = []
    objective = model.objective
    monkeypatch.setattr(type(model), "global_rank", rank)
    monkeypatch.setattr(model, "objective", lambda out, indexes: given.append(indexes) or objective(out, indexes))  # fmt: skip  # noqa: E501
    model.training_step(batch(), 1)
    assert torch.equal(given[0], (torch.arange(8) + 8 * rank).repeat(2))


def test_training_step_logs_loss_terms_open_rate_and_empty_codes():
    model = build("bayesncl")
    model.training_step(batch(), 1)
    logged = {
        "train_nce_loss",
        "train_kl_loss",
        "train_gate_open_rate",
        "train_empty_code_share",
        "train_class_loss",
        "train_acc1",
        "train_acc5",
    }
    assert set(model.logged) == logged
    assert 0 < model.logged["train_gate_open_rate"] < 1
    assert model.logged["train_kl_loss"] > 0


@pytest.mark.parametrize("method", ["ncl", "bayesncl"])
def test_training_step_adds_and_logs_the_balance_if_it_has_a_weight(method):
    without, with_balance = build(method), build(method, balance_weight=0.5)
    losses = [model.training_step(batch(), 1).item() for model in (without, with_balance)]
    shares = with_balance.logged["train_balance_loss"]
    assert -log(16) <= shares < 0
    assert losses[1] - losses[0] == pytest.approx(0.5 * shares, abs=1e-5)


class FixedProjections(nn.Module):
    """A projector whose output is a parameter; one row has no positive entry."""

    def __init__(self):
        super().__init__()
        z = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
        z[3] = -0.1
        self.z = nn.Parameter(z)

    def forward(self, feats):
        return self.z + 0 * feats.sum()


@pytest.mark.parametrize("method", ["ncl", "bayesncl", "bayesncl_supcon"])
def test_an_empty_row_learns_only_with_a_min_norm_of_0(method):
    """As in the official code, where its gradient is 1e12 times that of other rows."""
    gradients = {}
    for min_norm in (0.03, 0.0):
        model = build(method, min_norm=min_norm).train()
        model.projector = FixedProjections()
        model.training_step(batch(), 1).backward()
        gradients[min_norm] = model.projector.z.grad.abs().amax(dim=1)
    assert gradients[0.03][3] == 0
    assert gradients[0.0][3] > 1e9
    others = torch.arange(8) != 3
    torch.testing.assert_close(gradients[0.0][others], gradients[0.03][others])


def test_step_without_a_trainer_is_that_of_a_plain_module():
    torch.manual_seed(0)
    model = adapter().build(config("bayesncl")).train()
    assert float(model.training_step(batch(), 1)) == pytest.approx(
        float(build("bayesncl").train().training_step(batch(), 1))
    )


class Logged:
    """In place of Lightning's module: keeps what `log` is called with."""

    def __init__(self, training: bool, processes: int = 1):
        self._trainer = SimpleNamespace(training=training, world_size=processes)
        self.calls = {}

    def log(self, name, value, prog_bar=False, **options):
        self.calls[name] = {"prog_bar": prog_bar, **options}


class Method(StepLogMixin, Logged):
    pass


def test_values_of_step_and_epoch_are_logged_apart_with_all_other_options():
    method = Method(training=True, processes=2)
    method.log("a", 1.0, on_epoch=True, sync_dist=True, prog_bar=True, reduce_fx="max")
    common = {"prog_bar": True, "reduce_fx": "max"}
    assert method.calls == {
        "a_step": {"on_step": True, "on_epoch": False, "sync_dist": False, **common},
        "a_epoch": {"on_step": False, "on_epoch": True, "sync_dist": True, **common},
    }


def test_one_process_logs_step_and_epoch_by_one_call_without_a_reduction():
    method = Method(training=True)
    method.log("a", 1.0, on_epoch=True, sync_dist=True, prog_bar=True)
    options = {"on_step": True, "on_epoch": True, "sync_dist": False, "prog_bar": True}
    assert method.calls == {"a": options}


@pytest.mark.parametrize(
    ("training", "options"),
    [
        (False, {"on_epoch": True, "sync_dist": True}),
        (True, {"on_epoch": True}),
        (True, {"sync_dist": True}),
        (True, {"on_epoch": True, "on_step": False, "sync_dist": True}),
    ],
)
def test_other_values_are_logged_as_lightning_does(training, options):
    method = Method(training)
    method.log("a", 1.0, True, **options)
    assert method.calls == {"a": {"prog_bar": True, **options}}


def test_interpretability_is_logged_on_the_first_batch_of_an_epoch_only():
    model = build("bayesncl")
    model.training_step(batch(), 0)
    for space in ("backbone", "projections", "codes"):
        for metric in ("semantic_consistency", "effective_rank", "orthogonality_mean"):
            assert f"{metric}_{space}" in model.logged
    assert 1 / 6 < model.logged["semantic_consistency_codes"] <= 1


def test_statistics_of_codes_that_are_not_finite_are_nan():
    model = build("ncl")
    codes = torch.full((4, 16), torch.inf)
    model.log_interpretability({"codes": codes}, torch.arange(4))
    assert model.logged["activation_sparsity_codes"] != model.logged["activation_sparsity_codes"]


def test_data_without_labels_trains_and_leaves_class_statistics_out():
    model = build("bayesncl")
    model.cfg.data.no_labels = True
    indexes, images, _ = batch()
    loss = model.training_step([indexes, images, torch.full((8,), -1)], 0)
    loss.backward()
    assert model.projector[0].weight.grad.abs().sum() > 0
    assert "semantic_consistency_codes" not in model.logged


def test_images_without_a_label_do_not_count_in_class_statistics():
    """STL-10's training split, of which a part is labelled."""
    indexes, images, targets = batch()
    targets[::2] = -1
    model = build("bayesncl")
    model.training_step([indexes, images, targets], 0)
    logged = dict(model.logged)
    assert 1 / 6 < logged["semantic_consistency_codes"] <= 1

    model = build("bayesncl")
    model.log_interpretability({"codes": torch.eye(8)}, targets)
    expected = model.logged["active_dims_codes"]
    assert expected == 4


def test_batch_without_any_label_trains_and_logs_the_same_names():
    indexes, images, targets = batch()
    model = build("bayesncl")
    model.training_step([indexes, images, targets], 0)
    names = set(model.logged)

    model = build("bayesncl")
    loss = model.training_step([indexes, images, torch.full((8,), -1)], 0)
    assert loss.isfinite()
    loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    assert set(model.logged) == names
    assert isnan(model.logged["semantic_consistency_codes"])


@pytest.mark.parametrize("method", ["simclr", "ncl", "bayesncl"])
def test_small_crops_take_part_in_the_loss(method):
    model = build(method, small_crops=2)
    data = batch(small=2)
    # main's SimCLR takes positives from the loader's indexes
    data[0] = torch.arange(8)
    model.training_step(data, 1)
    with_small = model.logged["train_nce_loss"]
    data[1][2] = data[1][2] + 3.0
    model = build(method, small_crops=2)
    model.training_step(data, 1)
    assert model.logged["train_nce_loss"] != with_small


@pytest.mark.parametrize("isolated", [True, False])
def test_gradient_isolation_keeps_the_gate_out_of_the_backbone(isolated):
    model = build("bayesncl", detach_gate_input=isolated)
    feats = torch.randn(4, 512, requires_grad=True)
    logits = model.gate_logits(feats)
    assert logits.requires_grad
    logits.sum().backward()
    assert (feats.grad is None) == isolated


def test_gating_head_is_a_parameter_group_with_its_own_rate():
    cfg = config("bayesncl")
    cfg.optimizer.gating_head_lr = 0.123
    model = adapter().build(cfg)
    groups = {group.get("name"): group for group in model.learnable_params}
    assert groups["gating_head"]["lr"] == 0.123
    own = {id(p) for p in model.gating_head.parameters()}
    assert {id(p) for p in groups["gating_head"]["params"]} == own


def test_gating_head_takes_the_rate_of_the_rest_where_none_is_given():
    groups = {group.get("name"): group for group in build("bayesncl").learnable_params}
    assert "lr" not in groups["gating_head"]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_depth_of_the_gating_head_is_one_override(depth):
    head = build("bayesncl", gating_head_depth=depth).gating_head
    assert sum(isinstance(layer, torch.nn.Linear) for layer in head) == depth


def test_gate_init_prior_starts_the_posterior_at_the_prior():
    model = build("bayesncl", gate_init="prior", bayesian_prior_prob=0.9, sigmoid_temperature=2.0)
    probs = torch.sigmoid(model.gating_head[2].bias / 2.0)
    torch.testing.assert_close(probs, torch.full_like(probs, 0.9))


def test_codes_use_the_gate_as_trained():
    options = {"gate_threshold": 0.7, "sigmoid_temperature": 0.5, "non_neg": "relu"}
    model = build("bayesncl", **options).eval()
    out = model(torch.randn(5, 3, 32, 32))
    encoding = model.encode(out)
    open_ = torch.sigmoid(out["gate_logits"] / 0.5) > 0.7
    torch.testing.assert_close(encoding.probs, torch.sigmoid(out["gate_logits"] / 0.5))
    assert ((encoding.codes != 0) == (encoding.projections != 0) & open_).all()
    assert (encoding.codes >= 0).all()


def test_objective_receives_every_setting(monkeypatch):
    received = {}

    def record(*args, **kwargs):
        received.update(kwargs)
        return bayesncl_objective(*args, **kwargs)

    monkeypatch.setattr("solo_bayesncl.methods.bayesncl.bayesncl_objective", record)
    chosen = {
        "non_neg": "softplus",
        "bayesian_prior_prob": 0.3,
        "bayesian_kl_lambda": 0.01,
        "gate_type": "binary_concrete",
        "gate_threshold": 0.4,
        "sigmoid_temperature": 0.9,
        "use_topk": True,
        "topk_k": 5,
        "min_norm": 0.01,
        "balance_weight": 0.2,
    }
    build("bayesncl", **chosen).training_step(batch(), 1)
    assert received == {
        "non_neg": "softplus",
        "temperature": 0.2,
        "prior_prob": 0.3,
        "kl_lambda": 0.01,
        "gate_type": "binary_concrete",
        "gate_threshold": 0.4,
        "gate_temperature": 0.9,
        "topk_k": 5,
        "min_norm": 0.01,
        "balance_weight": 0.2,
    }


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"sigmoid_temperature": 0}, "sigmoid_temperature=0: give a number above 0"),
        ({"bayesian_prior_prob": 1.2}, "bayesian_prior_prob=1.2: give a number from 0 to 1"),
        ({"bayesian_kl_lambda": -1}, "bayesian_kl_lambda=-1"),
        ({"non_neg": "swish"}, "non_neg='swish': give one of none, relu"),
        ({"gate_type": "hard"}, "gate_type='hard': give one of STE"),
        ({"gate_threshold": 1}, "gate_threshold=1"),
        ({"gating_head_depth": 4}, "gating_head_depth=4: give an integer from 1 to 3"),
        ({"gate_init": "zero"}, "gate_init='zero'"),
        ({"detach_gate_input": "yes"}, "detach_gate_input='yes': give True or False"),
        ({"use_topk": True, "topk_k": 17}, "topk_k=17.*from 1 to proj_output_dim=16"),
        ({"use_topk": True}, "topk_k=0"),
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"use_bayes": False}, "use_bayes=False: give True .for no gate, choose method: ncl"),
        ({"proj_output_dim": 0}, "proj_output_dim=0"),
        ({"bayesian_prior_pob": 0.8}, "Did you mean method_kwargs.bayesian_prior_prob"),
        ({"gate_init": "prior", "bayesian_prior_prob": 0.2}, "every gate closed"),
    ],
)
def test_wrong_settings_are_refused_at_construction(wrong, named):
    with pytest.raises(InputError, match=named):
        adapter().build(config("bayesncl", **wrong))
