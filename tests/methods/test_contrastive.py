"""NCL and BayesNCL in other contrastive methods of solo-learn: mechanism, settings, learning."""

import functools
import math
import re
import shutil
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from conftest import RECIPES, ROOT, backbone, record_log, tiny
from test_methods import batch, config
from torch import nn

import solo_bayesncl
from solo_bayesncl import adapters
from solo_bayesncl.__main__ import main
from solo_bayesncl.adapters import adapter
from solo_bayesncl.data.digits import make_digits
from solo_bayesncl.data.loaders import pretrain_loader
from solo_bayesncl.errors import InputError
from solo_bayesncl.losses import balance, bernoulli_kl, info_nce
from solo_bayesncl.methods.contrastive import LOSS_INPUTS
from solo_bayesncl.recipes.compose import compose_recipe
from solo_bayesncl.recipes.method_kwargs import CONTRASTIVE, METHODS
from solo_bayesncl.recipes.validation import accepted_values
from solo_bayesncl.runs.models import load_model
from solo_bayesncl.runs.run import Run
from solo_bayesncl.training.pretraining import pretrain

solo_bayesncl.register()

OLD_RELEASE = adapters.find()[1].endswith("v1_0_2")
HERE = [name for name in LOSS_INPUTS if adapter().method(name) is not None]
VARIANTS = [f"{prefix}_{name}" for prefix in ("ncl", "bayesncl") for name in HERE]
OWN = {"queue_size": 64, "pred_hidden_dim": 24}


def config_of(method: str, **method_kwargs):
    cfg = config(method, **method_kwargs)
    own = CONTRASTIVE[method.rpartition("_")[2]].model_fields
    cfg.method_kwargs.update({key: OWN[key] for key in own})
    return cfg


def build(method: str, **method_kwargs):
    torch.manual_seed(0)
    model = adapter().build(config_of(method, **method_kwargs))
    record_log(model)
    return model.train()


def test_small_resnet_is_the_momentum_network_too():
    cfg = config_of("bayesncl_mocov2plus")
    cfg.backbone.name = "small_resnet"
    model = adapter().build(cfg)
    assert model.features_dim == 128
    assert model.momentum_backbone.state_dict().keys() == model.backbone.state_dict().keys()
    assert torch.equal(*(net.conv1[0].weight for net in (model.backbone, model.momentum_backbone)))


def test_every_method_that_solo_learn_has_is_registered_in_both_variants():
    assert {"mocov2plus", "supcon", "nnclr"} <= set(HERE) <= set(adapter().method_names())
    assert set(VARIANTS) <= set(adapter().METHODS)
    assert set(CONTRASTIVE) == set(LOSS_INPUTS)


@pytest.mark.parametrize("method", VARIANTS)
def test_variant_is_a_solo_learn_method(method):
    name = method.rpartition("_")[2]
    model = build(method)
    assert isinstance(model, adapter().method(name))
    own = set(build_original(name).state_dict())
    more = {key.split(".")[0] for key in set(model.state_dict()) - own}
    gates = {"gating_head", *(["momentum_gating_head"] if LOSS_INPUTS[name].momentum else [])}
    assert more == (gates if method.startswith("bayesncl") else set())
    assert own <= set(model.state_dict())


def build_original(name: str):
    cfg = config(name)
    cfg.method_kwargs.update({key: OWN[key] for key in CONTRASTIVE[name].model_fields})
    cfg.momentum = {}
    torch.manual_seed(0)
    return adapter().method(name)(cfg)


@pytest.mark.parametrize("method", VARIANTS)
def test_loss_inputs_are_codes(method, monkeypatch):
    """Non-negative and of unit length on both sides: queries, keys and what enters a queue."""
    model, loss_inputs = build(method), LOSS_INPUTS[method.rpartition("_")[2]]
    seen = []
    for forward, names in (
        ("forward", loss_inputs.online),
        ("momentum_forward", loss_inputs.momentum),
    ):
        if names:
            original = getattr(model, forward)

            def record(x, original=original, names=names):
                out = original(x)
                seen.extend(out[name] for name in names)
                return out

            monkeypatch.setattr(model, forward, record)
    model.training_step(batch(), 1)
    assert len(seen) == 2 * (len(loss_inputs.online) + len(loss_inputs.momentum))
    for codes in seen:
        assert (codes >= 0).all()
        lengths = codes.norm(dim=1)
        torch.testing.assert_close(lengths[lengths > 0], torch.ones_like(lengths[lengths > 0]))
    if method.endswith("mocov2plus"):
        torch.testing.assert_close(model.queue[0].T[:8], seen[2])  # keys of the first view
    if method.endswith("nnclr"):
        torch.testing.assert_close(model.queue[:8], seen[1])  # projections of the first view


# a classifier of the momentum network, too, where the release and the method can have one
WITHOUT_LABELS = [(name, False) for name in VARIANTS if not name.endswith("supcon")] + [
    (name, True) for name in VARIANTS if not OLD_RELEASE and "moco" in name
]


@pytest.mark.parametrize(("method", "momentum_classifier"), WITHOUT_LABELS)
def test_batch_without_any_label_trains(method, momentum_classifier):
    indexes, images, targets = batch()
    cfg = config_of(method)
    cfg.momentum = {"classifier": momentum_classifier}
    model = adapter().build(cfg).train()
    record_log(model)
    loss = model.training_step([indexes, images, torch.full_like(targets, -1)], 0)
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    of_classes = [value for name, value in model.logged.items() if name.endswith("class_loss")]
    assert of_classes == [0.0] * (2 if momentum_classifier else 1)


@pytest.mark.parametrize("name", HERE)
def test_loss_is_solo_learns_loss_of_codes_plus_the_terms_of_the_codes(name):
    """Without non-negativity, and with all gates open, it is solo-learn's but for these terms."""
    plain, free = build_original(name).train(), build(f"ncl_{name}", non_neg="none")
    gated = build(f"bayesncl_{name}", non_neg="none", gate_threshold=0.0, balance_weight=0.1)
    for model in (plain, free, gated):
        model.load_state_dict(plain.state_dict(), strict=False)
        model.log = model.log_dict = lambda *_, **__: None
    expected = plain.training_step(batch(), 1)
    torch.testing.assert_close(free.training_step(batch(), 1), expected, rtol=1e-5, atol=1e-5)
    encodings = []
    gated.code_terms = lambda encoding: (
        encodings.append(encoding) or type(gated).code_terms(gated, encoding)
    )
    total = gated.training_step(batch(), 1)
    (encoding,) = encodings
    kl, shares = 3e-5 * bernoulli_kl(encoding.probs, 0.8), 0.1 * balance(encoding.codes)
    assert kl > 0
    assert shares < -0.1
    torch.testing.assert_close(total, expected + kl + shares, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", HERE)
def test_solo_learns_losses_are_those_of_the_papers(name):
    """Written out, from what `forward` returns: what an adapter of a release has to agree with."""
    model = build_original(name).train()
    logged = record_log(model)
    with torch.no_grad():
        outs = [model(view) for view in batch()[1]]
        keys = [model.momentum_forward(view) for view in batch()[1] if LOSS_INPUTS[name].momentum]
    queue = model.queue.clone() if hasattr(model, "queue") else None
    model.training_step(batch(), 1)
    unit = functools.partial(F.normalize, dim=1)
    pairs = ((0, 1), (1, 0))
    if name == "supcon":
        z, labels = unit(torch.cat([out["z"] for out in outs])), batch()[2].repeat(2)
        others = ~torch.eye(len(z), dtype=torch.bool)
        similar = (z @ z.T / 0.2).exp() * others
        positive = (similar * (labels[:, None] == labels)).sum(1)
        losses = [-(positive / similar.sum(1)).log().mean()]
    elif name == "mocov2plus":
        losses = [
            cross_entropy_of_first(outs[a]["z"], keys[b]["z"], queue[b].T) / 2 for a, b in pairs
        ]
    elif name == "mocov3":
        losses = [
            F.cross_entropy(unit(outs[a]["q"]) @ unit(keys[b]["k"]).T / 0.2, torch.arange(8)) * 0.4
            for a, b in pairs
        ]
    else:
        nearest = [queue[(out["z"] @ queue.T).argmax(1)] for out in outs]
        losses = [
            F.cross_entropy(nearest[a] @ unit(outs[b]["p"]).T / 0.2, torch.arange(8)) / 2
            for a, b in pairs
        ]
    (value,) = [v for k, v in logged.items() if re.search("nce_loss|nnclr_loss|contrastive", k)]
    assert value == pytest.approx(float(sum(losses)), rel=1e-4)


def cross_entropy_of_first(queries, keys, negatives):
    logits = torch.cat([(queries * keys).sum(1, keepdim=True), queries @ negatives.T], 1) / 0.2
    return F.cross_entropy(logits, torch.zeros(len(queries), dtype=torch.long))


@pytest.mark.parametrize("method", VARIANTS)
def test_every_weight_that_learns_gets_a_gradient(method):
    model = build(method)
    model.training_step(batch(), 1).backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    learned = {id(p) for group in model.learnable_params for p in group["params"]}
    assert learned == {id(p) for p in model.parameters() if p.requires_grad}


def test_gate_of_the_keys_follows_the_gate_of_the_queries():
    model = build("bayesncl_mocov2plus")
    pairs = {id(online): momentum for online, momentum in model.momentum_pairs}
    twin = pairs[id(model.gating_head)]
    assert twin is model.momentum_gating_head
    torch.testing.assert_close(twin.state_dict(), model.gating_head.state_dict())
    assert not any(p.requires_grad for p in twin.parameters())


def test_codes_of_evaluation_are_the_trained_heads():
    """NNCLR's gradient goes through its predictor: the codes are the predictor's."""
    model = build("bayesncl_nnclr", non_neg="relu").eval()
    images = batch()[1][0]
    encoding = model.encode(model(images))
    feats = model.backbone(images)
    raw = model.predictor(model.projector(feats))
    expected = F.normalize(F.normalize(raw.relu()) * (model.gating_head(feats) > 0))
    torch.testing.assert_close(encoding.codes, expected)


@pytest.mark.parametrize(
    ("method", "change", "expected"),
    [
        ("ncl_mocov2plus", {"queue_size": 60}, "queue_size=60 is not a multiple of 8"),
        ("ncl_nnclr", {"queue_size": 0}, "queue_size=0: give a multiple"),
        ("ncl_nnclr", {"pred_hidden_dim": None}, "pred_hidden_dim is missing: give an integer"),
        ("ncl_supcon", {"queue_size": 64}, "queue_size is not a setting of method: ncl_supcon"),
    ],
)
def test_wrong_settings_are_refused(method, change, expected):
    cfg = config(method)
    own = {key: OWN[key] for key in CONTRASTIVE[method.rpartition("_")[2]].model_fields}
    cfg.method_kwargs.update({**own, **change})
    with pytest.raises(InputError, match=expected):
        adapter().build(cfg)


@pytest.mark.parametrize("name", HERE)
def test_method_and_variants_can_be_compared(name, images, tmp_path):
    from solo_bayesncl.comparison.plan import Plan

    methods = f"[{name},ncl_{name},bayesncl_{name}]"
    overrides = [f"methods={methods}", "seeds=[0]", f"out={tmp_path}", "recipes=demo"]
    cfg = compose_recipe("scripts/compare", "methods", overrides)
    cfg.overrides += [f"data.train_path={images}/train", f"data.val_path={images}/val",
                      "optimizer.batch_size=16"]  # fmt: skip
    assert [job.cfg.method for job in Plan.of(cfg).jobs] == [
        name, f"ncl_{name}", f"bayesncl_{name}"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("mocov2plus", "method_kwargs.queue_size=30", "queue_size=30 is not a multiple of 16"),
        ("supcon", "data.no_labels=True", "data.no_labels=True: give labelled images"),
        ("nnclr", "augmentations.0.num_crops=3", "compares 2 large"),
        ("ncl_mocov2plus", "momentum.base_tau=2", "momentum.base_tau=2: give a number from 0 to 1"),
        ("mocov2plus", "momentum.final_tau=0.5", "base_tau=0.99 exceeds momentum.final_tau=0.5"),
        ("mocov2plus", "momentum=5", "momentum=5: give a section with base_tau"),
    ],
)
def test_recipes_of_solo_learns_methods_are_checked_as_ours(
    name, change, expected, jpegs, tmp_path, capsys
):
    images = jpegs
    if change.startswith("data"):
        images = tmp_path / "unlabelled"
        images.mkdir()
        shutil.copytree(jpegs / "train/class_0", images / "train")
    overrides = tiny(images, tmp_path / "out", change)
    recipe = ["--config-path", str(RECIPES / "pretrain/demo"), "--config-name", name]
    assert main(["pretrain", *recipe, *overrides]) == 2
    assert expected in capsys.readouterr().err


def test_momentum_of_a_resumed_run_goes_on(monkeypatch):
    adapter().patch_solo_learn()
    model = build("ncl_mocov2plus")
    trainer = SimpleNamespace(global_step=50, estimated_stepping_batches=100)
    monkeypatch.setattr(type(model), "trainer", trainer)
    model.on_train_start()
    assert model.last_step == 50
    assert model.momentum_updater.cur_tau == pytest.approx((0.99 + 1.0) / 2)


def test_data_that_the_loss_cannot_take_are_refused():
    cfg = config("ncl_nnclr", small_crops=2, **OWN)
    with pytest.raises(InputError, match="2 large and 2 small"):
        adapter().build(cfg)
    cfg = config("ncl_supcon")
    cfg.data.no_labels = True
    with pytest.raises(InputError, match="data.no_labels=True"):
        adapter().build(cfg)


@pytest.mark.parametrize("folder", ["demo", "cifar", "custom"])
@pytest.mark.parametrize("name", LOSS_INPUTS)
def test_method_and_variants_have_recipes(folder, name):
    """Alike but for what makes a method another: ready for a comparison."""
    recipes = [
        compose_recipe(str(RECIPES / "pretrain" / folder), prefix + name, ["++data.train_path=x"])
        for prefix in ("", "ncl_", "bayesncl_")
    ]
    assert [cfg.method for cfg in recipes] == [name, f"ncl_{name}", f"bayesncl_{name}"]
    for cfg in recipes[1:]:
        assert set(cfg.method_kwargs) <= set(METHODS[cfg.method].model_fields)
        for key in ("momentum", "backbone", "augmentations", "max_epochs"):
            assert cfg.get(key) == recipes[0].get(key)


def test_every_setting_of_solo_learns_methods_is_documented_as_it_is():
    rows = re.findall(
        r"^\| `(\w+)` \| ([\w, ]+) \| (\S+) \| (.+) \| (.+) \|$",
        (ROOT / "docs/settings.md").read_text(),
        re.M,
    )
    models = {key: model for model in CONTRASTIVE.values() for key in model.model_fields}
    assert {(key, *rest) for key, *rest in rows} == {
        (
            key,
            ", ".join(name for name in CONTRASTIVE if key in CONTRASTIVE[name].model_fields),
            "required" if field.is_required() else f"`{field.default}`",
            accepted_values(model, key),
            field.description,
        )
        for key, model in models.items()
        for field in [model.model_fields[key]]
    }


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    make_digits(folder, train_size=192, val_size=64, size=16)
    return folder


@pytest.fixture
def small_backbone():
    """Three convolutions under the name resnet18: enough for digits, in a tenth of the time."""

    def small(*_, **__):
        layers = []
        for width, next_width, stride in ((3, 16, 2), (16, 32, 1), (32, 64, 2)):
            layers += [
                nn.Conv2d(width, next_width, 3, stride, padding=1, bias=False),
                nn.BatchNorm2d(next_width),
                nn.ReLU(),
            ]
        model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        model.inplanes = 64
        return model

    with backbone(small):
        yield


@torch.no_grad()
def nce_of_two_views(model, views) -> float:
    """InfoNCE of codes, in nats; log(2 N - 1) where all codes are alike."""
    codes = torch.cat([model.encode(model(view)).codes for view in views])
    return float(info_nce(codes, torch.arange(len(views[0])).repeat(2), 0.2))


@pytest.mark.parametrize("method", VARIANTS)
def test_variant_learns_on_the_demo_data(method, digits, tmp_path, small_backbone):
    """From its recipe: views of images that it has not seen find each other better than before."""
    queue = (
        {"method_kwargs.queue_size": 192} if "queue_size" in METHODS[method].model_fields else {}
    )
    options = {
        "data.train_path": f"{digits}/train", "data.val_path": f"{digits}/val",
        "checkpoint.dir": tmp_path, "augmentations.0.crop_size": 16, "max_epochs": 14,
        "check_val_every_n_epoch": 99, "optimizer.batch_size": 32, "optimizer.lr": 0.016,
        "method_kwargs.proj_hidden_dim": 128, "method_kwargs.proj_output_dim": 64,
        "++enable_progress_bar": False, **queue,
    }  # fmt: skip
    overrides = [f"{key}={value}" for key, value in options.items()]
    run = Run.open(pretrain(compose_recipe(str(RECIPES / "pretrain/demo"), method, overrides)))
    trained, untrained = load_model(run), adapter().build(run.cfg).eval()
    run.cfg.data.train_path = run.cfg.data.val_path
    dataset = pretrain_loader(run.cfg).dataset
    torch.manual_seed(0)
    views = [torch.stack([dataset[i][1][view] for i in range(64)]) for view in (0, 1)]
    assert nce_of_two_views(trained, views) < nce_of_two_views(untrained, views) - 0.1
    assert nce_of_two_views(trained, views) < math.log(2 * 64 - 1) - 0.1
