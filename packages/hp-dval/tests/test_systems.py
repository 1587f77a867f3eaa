"""The plain encoder and the baselines with prompts: against what they are made of, and killed and resumed."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from hmc_shared.runs.read import load_run
from hp_dval.bbn import bilateral_batches, reversed_order
from hp_dval.build import build_model, classification_loss, clip_of, load_model, notes, training_split
from hp_dval.class_texts import class_names, class_texts
from hp_dval.clip import Clip, TokenTower
from hp_dval.clip_files import load_clip
from hp_dval.ml_gcn import label_graph
from hp_dval.prompts import caption_embeddings
from hp_dval.tai_dpt import sentences
from hp_dval.train import train

NEW = ["plain", "ml-gcn", "bbn", "cocoop", "dualcoop", "tai-dpt", "lmpt"]


@pytest.fixture(scope="module")
def clip(clip_json, clip_file):
    return load_clip(clip_json, clip_file)


@pytest.mark.parametrize("method", NEW)
def test_killed_and_resumed_gives_the_same_bits(tmp_path, scenes, small, train_until, method):
    sampling = "random" if method == "bbn" else "class-aware"
    config = small(method=method, epochs=3, prompt_epochs=3, sampling=sampling)
    train(config, scenes)
    killed = replace(config, output_dir=str(tmp_path / "killed"))
    train_until(killed, 1)
    train(replace(killed, resume=True), scenes)
    first, second = load_run(tmp_path / "run"), load_run(tmp_path / "killed")
    assert np.array_equal(first.scores, second.scores)
    model = load_model(tmp_path / "run" / "model").eval()  # and without the run
    scores = model.to_scores(model.logits_of(scenes.test.inputs))
    torch.testing.assert_close(scores, torch.from_numpy(first.scores), atol=1e-4, rtol=1e-4)


# The plain encoder


def test_a_plain_encoder_needs_no_clip(tmp_path, scenes, small):
    config = small(method="plain", student="resnet8", clip="no-such-clip", pretrained=None, prompt_epochs=1)
    train(config, scenes)
    state = load_model(tmp_path / "run" / "model").state_dict()
    assert not [name for name in state if "text" in name or "tower" in name or "contexts" in name]
    photos = replace(scenes, name="folder:photos")
    assert [note.split(":")[0] for note in notes(config, photos)] == ["the student resnet8 starts at random"]


def test_a_plain_copy_of_the_clip_begins_at_its_class_token(scenes, small, clip):
    config = small(method="plain", student="clip")
    model = build_model(config, scenes, clip_of(config)).eval()
    images = scenes.test.inputs[:5]
    features = clip.model.visual(clip.preprocess(images))  # behind the projection
    token = model.student(model.normalize(images))[:, 0]
    torch.testing.assert_close(token @ clip.model.visual.proj, features, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(model(model.normalize(images)).logits, model.head(token))


def test_logits_of_ldam_are_scaled_cosines(scenes, small):
    config = small(method="plain", loss="ldam")
    model = build_model(config, scenes, clip_of(config)).eval()
    images = model.normalize(scenes.test.inputs[:5])
    token = model.student(images)[:, 0]
    expected = 30 * torch.cosine_similarity(token[:, None], model.head.weight[None], dim=2)
    torch.testing.assert_close(model(images).logits, expected, atol=1e-4, rtol=1e-4)


# ML-GCN


def test_the_label_graph_is_that_of_its_definition():
    generator = torch.Generator().manual_seed(0)
    targets = torch.rand(40, 6, generator=generator) < torch.tensor([0.9, 0.7, 0.4, 0.3, 0.1, 0.0])
    C, n = 6, targets.sum(0).tolist()
    assert n[5] == 0  # a class without a row, which has no neighbours
    is_near = [[False] * C for _ in range(C)]
    for i in range(C):
        for j in range(C):
            together = sum(bool(row[i] and row[j]) for row in targets)
            is_near[i][j] = i != j and n[i] > 0 and together / n[i] >= 0.4
    assert 5 < sum(map(sum, is_near)) < 20
    R = [[float(i == j) for j in range(C)] for i in range(C)]
    for j in range(C):
        column = sum(is_near[k][j] for k in range(C))
        for i in range(C):
            R[i][j] += 0.25 * is_near[i][j] / column if column else 0.0
    degree = [sum(row) for row in R]
    expected = [[R[j][i] / math.sqrt(degree[i] * degree[j]) for j in range(C)] for i in range(C)]
    torch.testing.assert_close(label_graph(targets), torch.tensor(expected))
    unsure = torch.cat([targets, targets.new_zeros(30, C)])  # of the new rows the first class alone is known
    unsure[40:, 0] = True
    known = torch.ones_like(unsure)
    known[40:, 1:] = False
    torch.testing.assert_close(label_graph(unsure, known), torch.tensor(expected))
    assert not torch.equal(label_graph(unsure), label_graph(targets))


def test_a_graph_of_no_edges_is_a_small_network_on_the_texts(scenes, small, clip):
    model = build_model(small(method="ml-gcn"), scenes, clip).eval()
    texts = [f"a photo of a {name}." for name in class_names(scenes.hierarchy)]
    text = F.normalize(clip.encode_text(texts), dim=1)
    torch.testing.assert_close(model.head.text, text, atol=1e-5, rtol=1e-4)
    images = model.normalize(scenes.test.inputs[:3])
    classifiers = model.head.second(F.leaky_relu(model.head.first(text), 0.2))  # (C, D)
    expected = model.student(images)[:, 0] @ classifiers.T
    torch.testing.assert_close(model(images).logits, expected, atol=1e-5, rtol=1e-4)
    model.head.graph[0, 1] = 0.5  # a neighbour of class 0 alone
    changed = (model(images).logits - expected).abs().amax(0)
    assert changed[0] > 1e-4
    assert changed[1:].max() < 1e-5


def test_the_graph_is_of_the_rows_that_are_trained_on(tmp_path, scenes, small):
    train(small(method="ml-gcn", protocol="paper", epochs=1, batch_size=96), scenes)
    graph = load_model(tmp_path / "run" / "model").head.graph
    rows = torch.cat([scenes.train.targets, scenes.validation.targets])
    assert torch.equal(graph, label_graph(rows))
    assert not torch.equal(graph, label_graph(scenes.train.targets))


# BBN


@pytest.mark.parametrize("alpha", [1.0, 0.4375])
def test_a_step_of_bbn_mixes_features_and_losses_by_alpha(scenes, small, clip, alpha):
    config = small(method="bbn", loss="bce")
    model = build_model(config, scenes, clip)
    epoch = round(4 * math.sqrt(1 - alpha))  # of 4
    model.train().begin_epoch(epoch, 4)
    [(rows, weights), *_] = bilateral_batches(scenes.train.targets, 8, alpha, seed=0, epoch=0)
    labels = scenes.train.targets[rows]
    loss_of = classification_loss(config, scenes.train.targets, scenes.evaluated)
    images = model.normalize(scenes.train.inputs[rows])
    ours = weights @ loss_of(model(images).logits, labels)
    expected = 0.0
    features = model.student(images)[:, 0]
    for uniform, rare, y_c, y_r in zip(features[:8], features[8:], labels[:8], labels[8:], strict=True):
        mixed = [2 * alpha * model.conventional(uniform), 2 * (1 - alpha) * model.rebalancing(rare)]
        logits = model.head(torch.cat(mixed)).expand(2, -1)
        of_uniform, of_rare = loss_of(logits, torch.stack([y_c, y_r]))
        expected += (alpha * of_uniform + (1 - alpha) * of_rare) / 8
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-4)
    model.eval()
    both = torch.cat([model.conventional(features), model.rebalancing(features)], dim=1)
    torch.testing.assert_close(model(images).logits, model.head(both), atol=1e-5, rtol=1e-4)


def test_reversed_sampling_draws_rare_classes_more_often():
    targets = torch.zeros(120, 4, dtype=torch.bool)
    targets[:100, 0] = targets[100:110, 1] = targets[110:112, 2] = True  # none of the last class
    order = reversed_order(targets, 40_000, seed=0, epoch=0)
    drawn = targets[order].double().mean(0)
    expected = torch.tensor([1 / 100, 1 / 10, 1 / 2, 0.0]).double() / 0.61
    torch.testing.assert_close(drawn, expected, atol=0.01, rtol=0.0)
    counts = torch.bincount(order, minlength=120)
    assert (counts[:112] > 0).all()  # all rows of a class
    assert (counts[112:] == 0).all()
    with pytest.raises(ValueError, match="should have a positive"):
        reversed_order(targets & False, 10, seed=0, epoch=0)


def test_two_processes_see_the_batches_of_one(scenes):
    targets = scenes.train.targets
    whole = bilateral_batches(targets, 36, 0.7, seed=1, epoch=2)
    parts = [bilateral_batches(targets, 36, 0.7, seed=1, epoch=2, rank=rank, world=2) for rank in range(2)]
    assert sum(len(rows) for rows, _ in whole) == 2 * len(targets)
    for (rows, weights), *of_ranks in zip(whole, *parts, strict=True):
        uniform, rare = rows.chunk(2)
        assert weights.chunk(2)[0].sum() == pytest.approx(0.7)
        assert weights.chunk(2)[1].sum() == pytest.approx(0.3)
        for rank, (of_rank, half_weights) in enumerate(of_ranks):
            assert torch.equal(of_rank, torch.cat([uniform[rank::2], rare[rank::2]]))  # pairs stay together
            torch.testing.assert_close(half_weights.sum() / 2, torch.tensor(0.5))
    assert torch.equal(
        torch.cat([rows.chunk(2)[0] for rows, _ in whole]).sort().values, torch.arange(len(targets))
    )


def test_bbn_has_its_own_sampling(small):
    with pytest.raises(ValueError, match="`--sampling` should be random with bbn"):
        small(method="bbn", sampling="class-aware")


# CoCoOp


def test_cocoop_without_its_network_is_zero_shot_with_the_words_of_its_template(scenes, small, clip):
    config = small(method="cocoop", templates=["a photo of a {}"], coherent=False)
    model = build_model(config, scenes, clip).eval()
    for parameter in model.meta.parameters():
        parameter.data.zero_()
    images = scenes.test.inputs[:5]
    text = clip.encode_text([f"a photo of a {name}." for name in class_names(scenes.hierarchy)])
    image = clip.encode_image(clip.preprocess(images))
    cosines = torch.cosine_similarity(image[:, None], text[None], dim=2)
    torch.testing.assert_close(model.logits_of(images), clip.logit_scale * cosines, atol=1e-3, rtol=1e-3)


def test_the_texts_of_cocoop_are_those_of_each_image_alone(scenes, small, clip):
    torch.manual_seed(0)  # the one hidden unit of so small a network may be off
    model = build_model(small(method="cocoop"), scenes, clip).eval()
    images = model.normalize(scenes.test.inputs[:3])
    features = F.normalize(clip.encode_image(images), dim=1)
    together = model.texts_of(features)
    alone = [model.prompts(model.contexts + model.meta(feature))[0] for feature in features]
    torch.testing.assert_close(together, torch.stack(alone))
    assert (together[0] - together[1]).abs().max() > 1e-4
    expected = clip.logit_scale * (together * features.unsqueeze(1)).sum(2)
    torch.testing.assert_close(model(images).logits, expected, atol=1e-4, rtol=1e-4)


def test_cocoop_has_one_context(small):
    with pytest.raises(ValueError, match="`--context` should be shared with cocoop"):
        small(method="cocoop", context="class")


# DualCoOp


def test_the_probability_of_dualcoop_is_a_softmax_over_its_two_prompts(scenes, small, clip):
    model = build_model(small(method="dualcoop", scale=100.0), scenes, clip)
    generator = torch.Generator().manual_seed(0)
    tokens = F.normalize(torch.randn(2, 1 + 6, clip.dim, generator=generator), dim=2)
    text = F.normalize(torch.randn(2, 3, clip.dim, generator=generator), dim=2)
    probabilities = model.scores(tokens, text).sigmoid()
    for image, probability in zip(tokens, probabilities, strict=True):
        for name in range(3):
            positive, negative = ([float(region @ t[name]) for region in image[1:]] for t in text)
            weights = [math.exp(20 * p) for p in positive]
            both = [
                5 * sum(w * 20 * c for w, c in zip(weights, cosines, strict=True)) / sum(weights)
                for cosines in (positive, negative)
            ]
            expected = torch.tensor(both).softmax(0)[0]
            torch.testing.assert_close(probability[name], expected, atol=1e-4, rtol=1e-3)


def test_regions_keep_their_own_values_in_the_last_attention(scenes, clip):
    tower = TokenTower(clip.image_config, own_values=True)
    tower.start_from(clip)
    images = clip.preprocess(scenes.test.inputs[:3])
    tokens = tower(images)
    visual = clip.model.visual
    torch.testing.assert_close(tokens[:, 0] @ visual.proj, visual(images), atol=1e-4, rtol=1e-4)
    before = []  # what comes to the last block
    last = visual.transformer.resblocks[-1]
    handle = last.register_forward_pre_hook(lambda _, inputs: before.append(inputs[0]))
    visual(images)
    handle.remove()
    x = before[0] if last.attn.batch_first else before[0].transpose(0, 1)
    width = x.shape[2]
    value = F.linear(last.ln_1(x), last.attn.in_proj_weight[2 * width :], last.attn.in_proj_bias[2 * width :])
    x = x + last.attn.out_proj(value)
    x = x + last.mlp(last.ln_2(x))
    torch.testing.assert_close(tokens[:, 1:], visual.ln_post(x)[:, 1:], atol=1e-4, rtol=1e-4)


def test_dualcoop_needs_patches(scenes, small, clip_config):
    resnet = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8}
    clip = Clip({**clip_config, "vision_cfg": resnet})
    with pytest.raises(ValueError, match="no ViT that is read at its class token"):
        build_model(small(method="dualcoop"), scenes, clip)


# TaI-DPT


def test_the_score_of_tai_dpt_is_the_mean_of_its_two_grains(scenes, small, clip):
    model = build_model(small(method="tai-dpt"), scenes, clip)
    generator = torch.Generator().manual_seed(0)
    tokens = F.normalize(torch.randn(2, 1 + 6, clip.dim, generator=generator), dim=2)
    tokens[1, 4:] = 0.0  # behind the end of a shorter sentence
    text = F.normalize(torch.randn(2, 3, clip.dim, generator=generator), dim=2)
    for sentence, length, scores in zip(tokens, (6, 3), model.scores(tokens, text), strict=True):
        for name in range(3):
            cosines = [float(place @ text[1, name]) for place in sentence[1 : 1 + length]]
            weights = [math.exp(50 * cosine) for cosine in cosines]
            local = sum(w * c for w, c in zip(weights, cosines, strict=True)) / sum(weights)
            expected = 4 * (float(sentence[0] @ text[0, name]) + local) / 2
            assert float(scores[name]) == pytest.approx(expected, abs=1e-4)


def test_sentences_name_their_labels(scenes):
    hierarchy = scenes.hierarchy
    texts = {name: (f"<{name}>", f"<{name}>!") for name in hierarchy.names}
    templates = [f"level {level}: {{}}" for level in range(hierarchy.num_levels)]
    found, labels = sentences(hierarchy, templates, texts, 300, seed=3)
    leaves = [hierarchy.names[leaf] for leaf in hierarchy.leaves]
    for sentence, row in zip(found, labels, strict=True):
        named = [hierarchy.index[name] for name in leaves if f"<{name}>" in sentence]
        assert 1 <= len(named) <= 3
        expected = torch.zeros(1, len(hierarchy), dtype=torch.bool)
        expected[0, named] = True
        assert torch.equal(hierarchy.add_ancestors(expected)[0], row)
    assert labels.any(0).all()
    assert sum("!" in sentence for sentence in found) > 100  # all texts of a class
    assert sentences(hierarchy, templates, texts, 300, seed=3)[0] == found
    assert sentences(hierarchy, templates, texts, 300, seed=4)[0] != found


def test_a_token_is_embedded_by_what_stands_before_it(clip):
    long, short = "a photo of a cat and a dog", "a photo of a cat"
    every = clip.encode_every_token([long, short])
    torch.testing.assert_close(every[:, 0], clip.encode_text([long, short]))
    same = len(clip.tokenize([short])[0]) - 1  # but for the end
    torch.testing.assert_close(every[0, 1 : 1 + same], every[1, 1 : 1 + same])
    torch.testing.assert_close(every[1, 1 + same], every[1, 0])  # the end of the text is read as the text
    assert (every[1, 2 + same :] == 0).all()
    assert (every[0] != 0).any(1).all()


def test_tai_dpt_needs_a_text_tower_that_reads_from_the_start(scenes, small, clip_config):
    clip = Clip({**clip_config, "text_cfg": {**clip_config["text_cfg"], "no_causal_mask": True}})
    with pytest.raises(ValueError, match="`--clip` should have a causal text tower"):
        training_split(small(method="tai-dpt"), scenes, clip)


def test_tai_dpt_looks_at_no_image(tmp_path, scenes, small):
    black = replace(scenes.train, inputs=torch.zeros_like(scenes.train.inputs))
    options = {"method": "tai-dpt", "loss": "ranking", "prompt_epochs": 2, "batch_size": 200}
    train(small("seen", **options), scenes)
    train(small("black", **options), replace(scenes, train=black))
    seen, blind = ((tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("seen", "black"))
    seen, blind = ([json.loads(line)["train_loss"] for line in lines] for lines in (seen, blind))
    assert seen == blind
    assert seen[1] < seen[0]


# LMPT


def test_captions_are_those_of_the_rows_or_the_names_of_their_labels(scenes, clip):
    texts = class_texts(scenes.hierarchy)
    split = replace(scenes.train, captions=tuple(f"picture {row}" for row in range(len(scenes.train))))
    ours = caption_embeddings(clip, split, texts, batch_size=40)
    expected = F.normalize(clip.encode_text(["picture 50"]), dim=1)[0]
    torch.testing.assert_close(ours[50], expected, atol=1e-5, rtol=1e-4)
    names = class_names(scenes.hierarchy)
    labels = " and ".join(names[i] for i in scenes.train.targets[3].nonzero().flatten().tolist())
    made = caption_embeddings(clip, scenes.train, texts)[3]
    torch.testing.assert_close(made, F.normalize(clip.encode_text([labels]), dim=1)[0], atol=1e-5, rtol=1e-4)


def test_captions_draw_the_texts_of_their_labels(tmp_path, scenes, small, clip):
    nearness = {}
    for method in ("coop", "lmpt"):
        train(small(method, method=method, protocol="paper", prompt_epochs=6), scenes)
        text = load_model(tmp_path / method / "model").text[0]
        rows = scenes.training_split("paper")
        captions = caption_embeddings(clip, rows, class_texts(scenes.hierarchy))
        nearness[method] = (captions @ text.T)[rows.targets].mean()
    assert nearness["lmpt"] > nearness["coop"] + 0.02
