"""Students, prompts and the scores of two views, against loops and the networks' own forward."""

import math
from dataclasses import replace

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torchvision.models.vision_transformer import VisionTransformer

import hmc_shared
import hp_dval
from hmc_shared import Hierarchy
from hp_dval.baselines import ClipClassifier
from hp_dval.build import load_model
from hp_dval.class_texts import class_texts
from hp_dval.clip_files import load_clip
from hp_dval.model import HPDVAL, dual_view_scores
from hp_dval.prompts import Prompts, text_embeddings
from hp_dval.students import Student

TREE = Hierarchy.from_paths(["animal/cat", "animal/polar_bear", "plant"])
TEXTS = {name: [f"a {text}"] for name, (text,) in class_texts(TREE).items()}


@pytest.fixture(scope="module")
def clip(clip_json, clip_file):
    return load_clip(clip_json, clip_file)


def small(**options):
    defaults = {"student": "small", "width": 16, "layers": 1, "heads": 2, "patch_size": 8, "k": 4}
    return HPDVAL(TREE, (1, 32, 32), **{**defaults, "dim": 24, "text_width": 16, **options})


def unit(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1)


# Students


@pytest.mark.parametrize("name", ["small", "vit_b_32"])
def test_the_class_token_of_torchvisions_vits_is_the_one_they_classify(name):
    torch.manual_seed(0)
    student = Student(name, 32, patch_size=8, width=16, layers=2, heads=2).eval()
    assert isinstance(student.network, VisionTransformer)
    images = torch.randn(2, 3, 32, 32)
    tokens = student(images)
    assert tokens.shape == (2, 1 + student.num_patches, student.num_features)
    torch.testing.assert_close(tokens[:, 0], student.network(images))  # its head is an identity


@pytest.mark.parametrize(
    ("name", "patches"),
    [("vit_tiny_patch16_224", 4), ("vit_small_patch14_reg4_dinov2", 4)],
    ids=["plain", "registers"],
)
def test_of_timms_vits_registers_are_left_out(name, patches):
    size = 28 if "14" in name else 32
    student = Student(f"timm:{name}", size).eval()
    images = torch.randn(2, 3, size, size)
    tokens = student(images)
    theirs = student.network.forward_features(images)
    assert tokens.shape == (2, 1 + patches, student.num_features)
    assert torch.equal(tokens[:, 0], theirs[:, 0])
    assert torch.equal(tokens[:, 1:], theirs[:, -patches:])


def test_a_clip_student_starts_as_the_image_tower(clip):
    """Its class token, projected, is CLIP's embedding, of grey images of another size as well."""
    raw = torch.randint(256, (2, 1, 20, 20), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    model = small(student="clip", clip_config=clip.config, k=1)
    assert model.student.num_patches == model.student.grid[0] ** 2
    model.student.network.start_from(clip)
    tokens = model.student(model.normalize(raw))
    assert tokens.shape == (2, 1 + model.student.num_patches, model.student.num_features)
    teacher = clip.encode_image(clip.preprocess(raw))
    torch.testing.assert_close(tokens[:, 0] @ clip.model.visual.proj, teacher)
    tokens.square().sum().backward()
    with torch.no_grad():
        for value in model.student.parameters():
            value.sub_(value.grad)  # fails where there is none: all of it is trained
    assert torch.equal(clip.encode_image(clip.preprocess(raw)), teacher)  # the CLIP is not


def test_a_clip_without_a_class_token_is_no_student(clip):
    config = {**clip.config, "vision_cfg": {**clip.config["vision_cfg"], "pool_type": "avg"}}
    with pytest.raises(ValueError, match="no ViT that is read at its class token"):
        Student("clip", 32, clip_config=config)


def test_patches_stand_in_rows_from_the_top_left():
    """What is seen in one patch changes the token of that place most."""
    torch.manual_seed(0)
    student = Student("small", 32, patch_size=8, width=32, layers=1, heads=2).eval()
    assert student.grid == (4, 4)
    blank = torch.zeros(1, 1, 32, 32)
    spot = blank.clone()
    spot[0, 0, 8:16, 24:32] = 3.0
    changed = (student(spot) - student(blank))[0, 1:].norm(dim=1)
    assert changed.argmax() == 1 * 4 + 3


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet18", 32),
        ("small", 33),
        ("timm:resnet18", 32),
        ("timm:nope", 32),
        ("vit_b_99", 32),
        ("clip", 32),
    ],
)
def test_other_students_are_refused_in_one_line(name, size):
    with pytest.raises(ValueError, match="`--student` should be small") as caught:
        Student(name, size, patch_size=8, width=16, layers=1, heads=2)
    assert "\n" not in str(caught.value)
    assert repr(name) in str(caught.value)


# Scores


@settings(deadline=None)
@given(
    seed=st.integers(0, 99),
    N=st.integers(1, 9),
    k=st.integers(1, 9),
    alpha=st.sampled_from([0.0, 0.4, 1.0]),
)
def test_scores_are_equations_4_and_5(seed, N, k, alpha):
    k = min(k, N)
    B, C, d = 2, 3, 4
    tokens, P_G, P_L = unit(B, 1 + N, d, seed=seed), unit(C, d, seed=seed + 1), unit(C, d, seed=seed + 2)
    expected = torch.zeros(B, C, dtype=torch.float64)
    for b in range(B):
        for i in range(C):
            of_patches = sorted((float(P_L[i] @ tokens[b, 1 + j]) for j in range(N)), reverse=True)
            expected[b, i] = alpha * float(P_G[i] @ tokens[b, 0]) + (1 - alpha) * sum(of_patches[:k]) / k
    torch.testing.assert_close(dual_view_scores(tokens, P_G, P_L, alpha=alpha, k=k), expected)


def test_without_patches_the_global_view_counts_alone():
    tokens, text = unit(2, 1, 4), unit(3, 4, seed=1)
    scores = dual_view_scores(tokens, text, text, alpha=0.4, k=32)
    torch.testing.assert_close(scores, tokens[:, 0] @ text.T)


@pytest.fixture
def model(clip):
    torch.manual_seed(0)
    model = small(scale=20.0).eval()
    model.fixed_text.copy_(text_embeddings(clip, TEXTS))
    model.text.copy_(Prompts(clip, class_texts(TREE), 4)(model.contexts).detach())
    return model


def test_images_and_their_tokens_give_the_same_logits(model):
    images = model.normalize(torch.randint(256, (3, 1, 32, 32), dtype=torch.uint8))
    outputs = model(images)
    tokens = model.tokens(images)
    torch.testing.assert_close(tokens.norm(dim=2), torch.ones(3, 17))
    torch.testing.assert_close(model(tokens).logits, outputs.logits)
    scores = dual_view_scores(tokens, model.text[0], model.text[1], alpha=0.4, k=4)
    torch.testing.assert_close(outputs.logits, 20 * scores)
    torch.testing.assert_close(F.normalize(outputs.class_embedding, dim=1), tokens[:, 0])
    assert model(tokens).class_embedding is None


def test_one_embedding_layer_serves_all_tokens_with_the_parameters_of_table_7():
    model = HPDVAL(TREE, (3, 224, 224))
    assert sum(p.numel() for p in model.embedding.parameters()) == 656_384
    assert model.contexts.numel() == 2 * 4 * 512
    assert model.student.num_patches == 196
    clip_parameters = 149_620_737  # of ViT-B-16 by open_clip
    assert round((clip_parameters + 656_384 + 4096) / 1e6, 2) == 150.28


def test_coherent_logits_never_put_a_class_above_its_parent(model):
    images = model.normalize(torch.randint(256, (8, 1, 32, 32), dtype=torch.uint8))
    plain, coherent = model(images).logits, model.logits(images)
    cat, bear, animal = (TREE.index[name] for name in ("animal/cat", "animal/polar_bear", "animal"))
    assert torch.equal(coherent[:, animal], plain[:, [animal, cat, bear]].max(1).values)
    assert torch.equal(coherent[:, [cat, bear]], plain[:, [cat, bear]])


def test_scores_stay_in_float32_under_autocast(model):
    images = model.normalize(torch.randint(256, (4, 1, 32, 32), dtype=torch.uint8))
    tokens = model.tokens(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(model(tokens).logits, model(tokens.float()).logits)
        logits = model(images).logits
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, logits.bfloat16().float())


def test_raw_images_become_calibrated_probabilities_and_labels(model):
    raw = torch.randint(256, (5, 1, 32, 32), dtype=torch.uint8)
    model.train()
    probabilities = model.predict_proba(raw, batch_size=2)
    assert model.training
    model.eval()
    logits = model.logits(model.normalize(raw))
    torch.testing.assert_close(probabilities, logits.sigmoid())  # not calibrated yet
    assert model.predict_proba(raw[:0]).shape == (0, 4)
    model.calibration.temperature.copy_(torch.tensor([0.5, 3.0]))
    model.calibration.shift.copy_(torch.tensor([-1.0, 2.0]))
    calibrated = model.constrained(logits / torch.tensor([0.5, 0.5, 3, 3]) + torch.tensor([-1.0, -1, 2, 2]))
    torch.testing.assert_close(model.predict_proba(raw), calibrated.sigmoid())
    assert torch.equal(model.predict(raw), calibrated >= 0)
    model.decision = replace(model.decision, threshold=0.25)
    assert torch.equal(model.predict(raw), TREE.add_ancestors(logits >= 0.25))
    with pytest.raises(ValueError, match=r"shape \(n, 1, 32, 32\). Found \(5, 1, 16, 32\)"):
        model.predict(raw[:, :, :16])


def test_response_maps_are_the_local_scores(model):
    images = model.normalize(torch.randint(256, (2, 1, 32, 32), dtype=torch.uint8))
    maps = model.response_maps(images)
    assert maps.shape == (2, 2, 4, 4, 4)
    tokens = model.tokens(images)
    expected = tokens[1, 1 + 4 * 2 + 3] @ model.text[1, 0]  # image 1, row 2, column 3, local view, class 0
    torch.testing.assert_close(maps[1, 1, 0, 2, 3], expected)
    top = maps[:, 1].flatten(2).topk(4, dim=2).values.mean(2)
    whole = 0.4 * tokens[:, 0] @ model.text[0].T + 0.6 * top
    torch.testing.assert_close(model(images).logits, 20 * whole)


def test_a_saved_model_predicts_the_same_without_a_clip(tmp_path, model):
    raw = torch.randint(256, (3, 1, 32, 32), dtype=torch.uint8)
    model.input_mean.fill_(30.0)
    model.decision = replace(model.decision, threshold=0.5)
    model.save_pretrained(tmp_path)
    for load in (load_model, HPDVAL.from_pretrained, hp_dval.load_model, hmc_shared.load_model):
        loaded = load(tmp_path)
        assert isinstance(loaded, HPDVAL)
        assert loaded.hierarchy == TREE
        assert torch.equal(loaded.predict_proba(raw), model.predict_proba(raw))
        assert torch.equal(loaded.predict(raw), model.predict(raw))


def test_clip_as_a_classifier_scores_its_own_embeddings(tmp_path, clip):
    model = ClipClassifier(TREE, (1, 20, 20), clip.config, dim=24, text_width=16, scale=7.0, coherent=False)
    model.image_tower.load_state_dict(clip.image_tower.state_dict())
    model.text.copy_(text_embeddings(clip, TEXTS)[None])
    raw = torch.randint(256, (3, 1, 20, 20), dtype=torch.uint8)
    image = F.normalize(clip.encode_image(clip.preprocess(raw)), dim=1)
    text = F.normalize(clip.encode_text([text for (text,) in TEXTS.values()]), dim=1)
    torch.testing.assert_close(model.predict_proba(raw), (7 * image @ text.T).sigmoid())
    model.save_pretrained(tmp_path)
    assert torch.equal(load_model(tmp_path).predict_proba(raw), model.predict_proba(raw))
    with pytest.raises(ValueError, match="patch tokens"):
        model.response_maps(model.normalize(raw))


def test_the_scale_is_kept_and_not_trained(tmp_path):
    model = small(scale=14.0)
    assert "log_scale" not in dict(model.named_parameters())
    model.save_pretrained(tmp_path)
    assert math.exp(load_model(tmp_path).log_scale.item()) == pytest.approx(14.0)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((1, 32, 16), {}, "square images. Found 32x16"),
        ((1, 32, 32), {"k": 17}, "`--k` should be at most the number of patches, 16 .* Found 17"),
    ],
)
def test_unsuitable_images_and_options_are_refused(shape, options, message):
    all_options = {"student": "small", "width": 16, "layers": 1, "heads": 2, "patch_size": 8, **options}
    with pytest.raises(ValueError, match=message):
        HPDVAL(TREE, shape, **all_options)


def test_the_default_takes_all_patches_where_there_are_few():
    """So that a first training on small images of one's own needs no option."""
    options = {"student": "small", "width": 16, "layers": 1, "heads": 2, "patch_size": 8}
    model = HPDVAL(TREE, (1, 32, 32), **options)
    assert model.num_tokens == 1 + 16
    images = torch.rand(2, 1, 32, 32)
    whole = HPDVAL(TREE, (1, 32, 32), **options, k=16)
    whole.load_state_dict(model.state_dict())
    assert torch.equal(model.eval().predict_proba(images), whole.eval().predict_proba(images))


def test_timm_is_asked_for_no_download(monkeypatch):
    asked = []
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda *a, **k: asked.append(k) or create(*a, **k))
    Student("timm:vit_tiny_patch16_224", 32)
    assert not asked[0].get("pretrained")
