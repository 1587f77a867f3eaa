"""Training: stages, the run folder, honest selection, kill and resume, refusals, two processes."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from hmc_shared import Hierarchy
from hmc_shared.cli.parse import to_yaml
from hmc_shared.data import load_dataset
from hmc_shared.metrics import mean_average_precision
from hmc_shared.predict.decision import load_decision
from hmc_shared.runs.read import load_run
from hp_dval.build import build_model, load_model, notes
from hp_dval.class_texts import class_names
from hp_dval.clip_files import load_clip
from hp_dval.config import STAGES, Config
from hp_dval.stages import stage_epochs
from hp_dval.train import train

SIZE = 96


def launch(config, folder, *options, launcher=(), **environment):
    """The same options in a process of its own, with another run folder."""
    file = folder.with_suffix(".yaml")
    file.write_text(to_yaml(replace(config, output_dir=str(folder))))
    command = [sys.executable, *launcher, "-m", "hp_dval.train", "--config", str(file), *options]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


def log_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_run_leaves_a_complete_folder(tmp_path, scenes, small):
    results = train(small(), scenes)
    run = load_run(tmp_path / "run")
    assert run.results == json.loads(json.dumps(results))
    assert results["method"] == "hp-dval"
    assert run.scores.dtype == np.float32
    assert run.scores.shape == run.targets.shape == (SIZE, 16)
    assert results["metrics"]["test/incoherent"] == 0
    assert [record["stage"] for record in log_of(tmp_path / "run")] == ["alignment"] * 2 + ["prompts"] * 2
    again = Config(**yaml.safe_load((tmp_path / "run" / "config.yaml").read_text()))
    assert again == small()


def test_each_stage_has_its_best_epoch_and_the_next_goes_on_from_it(tmp_path, scenes, small):
    # Step sizes so large that the last epochs are not the best.
    config = small(epochs=4, prompt_epochs=4, learning_rate=0.1, schedule="none", prompt_learning_rate=0.5)
    results = train(config, scenes)
    of_stages = [r["validation/map"] for r in log_of(tmp_path / "run")]
    aligned = load_model(tmp_path / "run" / "aligned").eval()
    targets = scenes.validation.targets.numpy()
    images = aligned.normalize(scenes.validation.inputs)
    with torch.no_grad():
        assert mean_average_precision(aligned.logits(images), targets) == pytest.approx(max(of_stages[:4]))
    assert results["validation"] == max(of_stages[4:])
    assert results["best_epoch"] == 8 - int(np.argmax(of_stages[:3:-1]))  # of equal ones, the last
    tuned = load_model(tmp_path / "run" / "model").eval()
    with torch.no_grad():
        assert mean_average_precision(tuned.logits(images), targets) == pytest.approx(max(of_stages[4:]))


def test_prompt_tuning_changes_the_prompts_alone(tmp_path, scenes, small):
    train(small(), scenes)
    aligned, tuned = (load_model(tmp_path / "run" / name).state_dict() for name in ("aligned", "model"))
    changed = {name for name in aligned if not torch.equal(aligned[name], tuned[name])}
    calibration = {"calibration.temperature", "calibration.shift"}  # of the result, not of the stage before
    assert changed == {"contexts", "text"} | calibration
    assert torch.equal(aligned["text"], aligned["fixed_text"].expand(2, -1, -1))
    assert ((tuned["contexts"] - aligned["contexts"]).abs().amax((1, 2)) > 1e-3).all()  # of both views


def test_alignment_leaves_the_prompts_alone(tmp_path, scenes, small):
    train(small(method="dval"), scenes)
    start = load_model(tmp_path / "run" / "model")
    train(small("longer", method="dval", epochs=3), scenes)
    assert torch.equal(start.contexts, load_model(tmp_path / "longer" / "model").contexts)
    assert torch.equal(start.text, start.fixed_text.expand(2, -1, -1))


def test_prompts_are_tuned_for_other_classes_on_what_is_aligned(tmp_path, scenes, small):
    train(small("before"), scenes)
    before = tmp_path / "before" / "aligned"
    leaves = scenes.hierarchy.leaves
    digits = replace(  # ten plain labels
        scenes,
        hierarchy=Hierarchy.from_edges([], nodes=[scenes.hierarchy.names[leaf] for leaf in leaves]),
        evaluated=scenes.evaluated[leaves],
        **{name: replace(s, targets=s.targets[:, leaves]) for name, s in scenes.splits.items()},
    )
    options = {"prompt_epochs": 6, "prompt_learning_rate": 0.05, "weights": "not-needed.pt"}
    train(small(aligned=str(before), **options), digits)
    log = log_of(tmp_path / "run")
    assert [record["stage"] for record in log] == ["prompts"] * 6
    assert log[-1]["train_loss"] < log[0]["train_loss"]
    model, aligned = load_model(tmp_path / "run" / "model"), load_model(before)
    images = scenes.test.inputs
    assert torch.equal(model.tokens(model.normalize(images)), aligned.tokens(aligned.normalize(images)))
    assert model.hierarchy.names == digits.hierarchy.names


@pytest.mark.parametrize("options", [{"width": 16}, {"method": "coop"}, {"clip": "tiny", "pretrained": None}])
def test_another_model_is_no_alignment(tmp_path, scenes, small, options):
    train(small("before", epochs=1, prompt_epochs=1), scenes)
    with pytest.raises(
        ValueError, match="`--aligned` should be the folder of an HP-DVAL model with the same"
    ):
        train(small(aligned=str(tmp_path / "before" / "model"), **options), scenes)


def test_joint_training_changes_both(tmp_path, scenes, small):
    train(small(method="joint"), scenes)
    model = load_model(tmp_path / "run" / "model")
    assert [record["stage"] for record in log_of(tmp_path / "run")] == ["joint"] * 2
    assert ((model.text - model.fixed_text).abs().amax((1, 2)) > 1e-4).all()
    train(small("dval", method="dval"), scenes)
    other = load_model(tmp_path / "dval" / "model")
    assert not torch.equal(model.embedding[0].weight, other.embedding[0].weight)


@pytest.mark.parametrize("method", list(STAGES))
def test_every_method_runs_and_what_it_trains_learns(tmp_path, scenes, small, method):
    results = train(small(method=method, epochs=4, prompt_epochs=4, loss="bce", kd_weight=0.0), scenes)
    stages = STAGES[method]
    log = log_of(tmp_path / "run")
    assert results["epochs"] == len(log) == 4 * len(stages)
    for stage in stages:
        losses = [record["train_loss"] for record in log if record["stage"] == stage]
        assert losses[-1] < losses[0]
    assert results["method"] == (f"{method}-bce" if stages else method)


def test_zero_shot_is_the_clip_with_its_template(scenes, tmp_path, small, clip_json, clip_file):
    config = small(method="zero-shot", templates=["a scene with a {}"], coherent=False)
    results = train(config, scenes)
    clip = load_clip(clip_json, clip_file)
    image = clip.encode_image(clip.preprocess(scenes.test.inputs))
    text = clip.encode_text([f"a scene with a {name}" for name in class_names(scenes.hierarchy)])
    cosines = torch.cosine_similarity(image[:, None], text[None], dim=2)
    expected = mean_average_precision(cosines.numpy(), scenes.test.targets.numpy())
    assert results["metrics"]["test/map"] == pytest.approx(expected, abs=1e-6)
    scores = torch.from_numpy(load_run(tmp_path / "run").scores)
    torch.testing.assert_close(scores, clip.logit_scale * cosines, atol=1e-3, rtol=0)


@pytest.mark.parametrize("loss", ["db-star", "db", "cb-focal", "asl", "mls", "bce"])
def test_every_loss_trains(tmp_path, scenes, small, loss):
    train(small(method="dval", loss=loss, epochs=3, kd_weight=0.0), scenes)
    losses = [record["train_loss"] for record in log_of(tmp_path / "run")]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("options", "fixed"), [({"prompts": "global"}, 1), ({"prompts": "local"}, 0)], ids=["global", "local"]
)
def test_a_view_can_keep_the_fixed_prompts(tmp_path, scenes, small, options, fixed):
    train(small(**options), scenes)
    model = load_model(tmp_path / "run" / "model")
    torch.testing.assert_close(model.text[fixed], model.fixed_text)
    assert (model.text[1 - fixed] - model.fixed_text).abs().max() > 1e-3


def test_distillation_and_consistency_pull_where_they_should(tmp_path, scenes, small, clip_json, clip_file):
    clip = load_clip(clip_json, clip_file)
    teacher = clip.encode_image(clip.preprocess(scenes.test.inputs))
    distances, moves = {}, {}
    for weight in (0.0, 100.0):
        train(small(f"{weight}", kd_weight=weight, sc_weight=weight, epochs=6, protocol="paper"), scenes)
        model = load_model(tmp_path / f"{weight}" / "model").eval()
        with torch.no_grad():
            student = model(model.normalize(scenes.test.inputs)).class_embedding
        distances[weight] = (student - teacher).abs().mean()
        moves[weight] = (model.text - model.fixed_text).abs().mean((1, 2))
    assert distances[100.0] < 0.7 * distances[0.0]
    assert moves[100.0][0] < 0.7 * moves[0.0][0]  # the global prompts are held
    assert moves[100.0][1] > 0.7 * moves[0.0][1]  # the local ones are not


def test_tokens_that_are_computed_anew_give_the_same_result(tmp_path, scenes, small):
    train(small("cached"), scenes)
    train(small("anew", cache_gib=0.0), scenes)
    first, second = (load_run(tmp_path / name) for name in ("cached", "anew"))
    np.testing.assert_allclose(first.scores, second.scores, rtol=1e-3, atol=1e-3)


def test_paper_protocol_keeps_the_last_epochs_and_never_looks_at_validation(tmp_path, scenes, small):
    results = train(small(protocol="paper"), scenes)
    assert results["protocol"] == "paper"
    assert results["best_epoch"] is None
    assert load_decision(tmp_path / "run" / "model").threshold is None  # there is nothing to choose it by
    assert "validation" not in (tmp_path / "run" / "metrics.jsonl").read_text()


@pytest.mark.parametrize("epochs", [1, 3, 5], ids=["alignment", "boundary", "prompts"])
def test_killed_and_resumed_gives_the_same_bits(tmp_path, scenes, small, train_until, epochs):
    """The run stops as if killed after that many epochs of 3 + 3, the last of them not in a checkpoint."""

    config = small(epochs=3, prompt_epochs=3)
    train(config, scenes)
    killed = replace(config, output_dir=str(tmp_path / "killed"))
    train_until(killed, epochs)
    with pytest.raises(ValueError, match="--resume"):
        train(killed, scenes)
    train(replace(killed, resume=True), scenes)
    first, second = load_run(tmp_path / "run"), load_run(tmp_path / "killed")
    assert np.array_equal(first.scores, second.scores)
    assert first.results["metrics"] == second.results["metrics"]
    for ours, theirs in zip(log_of(tmp_path / "run"), log_of(tmp_path / "killed"), strict=True):
        assert ours | {"seconds": 0} == theirs | {"seconds": 0}


@pytest.mark.slow
def test_a_killed_process_leaves_what_a_new_one_can_resume(tmp_path, small):
    config = small(dataset="digit-scenes", epochs=2, prompt_epochs=20, batch_size=128, width=16)
    killed = launch(config, tmp_path / "killed")
    log = tmp_path / "killed" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and killed.poll() is None:
        if log.is_file() and log.read_text().count("\n") >= 4:
            break
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    again = replace(config, output_dir=str(tmp_path / "killed"), config=str(tmp_path / "killed.yaml"))
    train(replace(again, resume=True))
    train(config)
    first, second = load_run(tmp_path / "run"), load_run(tmp_path / "killed")
    assert np.array_equal(first.scores, second.scores)


def test_resume_refuses_other_options(scenes, small):
    train(small(), scenes)
    with pytest.raises(ValueError, match="alpha"):
        train(small(alpha=0.5, resume=True), scenes)
    # Another file with the same options is no contradiction, nor are free options.
    assert train(small(resume=True, config="copy.yaml", workers=0, cache_gib=0.0), scenes)["epochs"] == 4


def test_a_loss_that_is_not_finite_stops_the_run(scenes, small):
    with pytest.raises(FloatingPointError, match=r"epoch 1.*step.*checkpoint"):
        train(small(learning_rate=1e30, schedule="none", warmup_epochs=0.0), scenes)


def test_images_of_any_size_with_a_hierarchy(tmp_path, small):
    """Coloured pictures in files, a template for each level, crops, the pixel statistics of ImageNet."""
    rng = np.random.default_rng(0)
    for part, count in (("red/dark", 20), ("red/light", 20), ("blue/dark", 20)):
        folder = tmp_path / "images" / part
        folder.mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 60, (40 + number, 60, 3), dtype=np.uint8)
            pixels[..., 0 if part[0] == "r" else 2] += np.uint8(190 if "light" in part else 110)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    options = {"image_size": 32, "workers": 0, "templates": ["a {} thing", "a {} picture"], "loss": "bce"}
    options |= {"method": "dval", "epochs": 20, "kd_weight": 0.0, "flip": True, "min_scale": 0.5}
    config = small(dataset=f"folder:{tmp_path / 'images'}", **options)
    results = train(config)
    assert results["metrics"]["test/incoherent"] == 0
    assert results["metrics"]["test/map"] > 0.8
    model = load_model(tmp_path / "run" / "model")
    torch.testing.assert_close(model.input_mean.flatten(), 255 * torch.tensor([0.485, 0.456, 0.406]))


@pytest.mark.data
def test_real_images_of_coco(tmp_path, small):
    folder = f"{os.environ['HMC_DATA']}/images/coco256"
    options = {"image_size": 64, "patch_size": 16, "workers": 0, "epochs": 1, "prompt_epochs": 1}
    config = small(dataset=f"labels:{folder}", templates=["a photo of a {}."], **options)
    results = train(config)
    assert results["epochs"] == 2
    assert np.isfinite(load_run(tmp_path / "run").scores).all()


def test_feature_vectors_are_refused(small):
    with pytest.raises(ValueError, match="should have images"):
        train(small(), load_dataset("digits"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "`--epochs` should be at least 1. Found 0."),
        ({"alpha": 1.5}, r"`--alpha` should lie in \[0, 1\]. Found 1.5."),
        ({"scale": 0.0}, "`--scale` should be finite and above 0. Found 0.0."),
        ({"learning_rate": float("nan")}, "`--learning-rate` should be finite"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Config(**options)


def test_stages_are_told_epoch_by_epoch():
    epochs = stage_epochs(Config(epochs=2, prompt_epochs=1))
    assert [(stage.stage, stage.epoch, stage.is_last) for stage in epochs] == [
        ("alignment", 0, False),
        ("alignment", 1, True),
        ("prompts", 0, True),
    ]
    assert [(stage.aligns, stage.tunes_prompts) for stage in epochs[1:]] == [(True, False), (False, True)]
    (joint,) = stage_epochs(Config(method="joint", epochs=1))
    assert joint.aligns
    assert joint.tunes_prompts
    assert stage_epochs(Config(method="zero-shot")) == []
    assert {stage.stage for stage in stage_epochs(Config(aligned="model"))} == {"prompts"}


@pytest.mark.slow
def test_mixed_precision_and_compile_train_and_still_score_in_float32(tmp_path, small):
    config = small(dataset="digit-scenes", method="dval", batch_size=300, epochs=1)
    config = replace(config, mixed_precision="bf16", compile=True)
    process = launch(config, tmp_path / "run")
    output = process.communicate()
    assert process.returncode == 0, output
    scores = load_run(tmp_path / "run").scores
    assert not np.array_equal(scores, torch.from_numpy(scores).to(torch.bfloat16).float().numpy())


@pytest.mark.distributed
@pytest.mark.parametrize(
    "options", [{}, {"method": "joint", "sampling": "class-aware"}], ids=["two", "joint"]
)
def test_two_processes_equal_one(tmp_path, small, options):
    # 1,500 rows in batches of 499 leave a short last one of 3, in which the processes have two and one.
    config = small(dataset="digit-scenes", batch_size=499, **options)
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    two = launch(config, tmp_path / "two", launcher=torchrun, ACCELERATE_USE_CPU="true")
    output = two.communicate()
    assert two.returncode == 0, output
    train(config)
    first, second = load_run(tmp_path / "run"), load_run(tmp_path / "two")
    np.testing.assert_allclose(first.scores, second.scores, rtol=5e-3, atol=5e-3)
    for name, value in first.results["metrics"].items():
        assert second.results["metrics"][name] == pytest.approx(value, abs=3e-3), name
    for ours, theirs in zip(log_of(tmp_path / "run"), log_of(tmp_path / "two"), strict=True):
        for name in ours.keys() - {"seconds", "stage"}:
            assert theirs[name] == pytest.approx(ours[name], rel=1e-3, abs=1e-3), name


def test_networks_that_know_nothing_of_the_images_are_noted(scenes):
    photos = replace(scenes, name="folder:photos")
    assert notes(Config(), scenes) == []
    (note,) = notes(Config(), photos)
    assert "digits alone; for photographs: --clip ViT-B-16-quickgelu --pretrained openai" in note
    clip, student = notes(Config(clip="ViT-B-16", student="vit_b_16"), photos)
    assert clip == "the CLIP ViT-B-16 is random: --pretrained gives it weights"
    assert student.startswith("the student vit_b_16 starts at random")
    known = {"clip": "ViT-B-16", "pretrained": "openai"}
    vit = {"student": "vit_b_16", "weights": "imagenet"}
    for options in (vit, {"method": "coop", "student": "small"}, {}):
        assert notes(Config(**known, **options), photos) == []


def test_frozen_stages_of_the_student_stay_and_its_own_statistics_are_taken(tmp_path, scenes, small):
    start = {"student": "timm:vit_tiny_patch16_224", "epochs": 1, "prompt_epochs": 1, "method": "joint"}
    config = small(freeze="stages:13", **start)
    clip = load_clip(config.clip, config.pretrained)
    torch.manual_seed(0)
    before = build_model(config, scenes, clip).student.network.state_dict()
    torch.save(before, tmp_path / "student.pt")
    train(small(freeze="stages:13", weights=str(tmp_path / "student.pt"), **start), scenes)
    model = load_model(tmp_path / "run" / "model")
    for name, value in model.student.network.state_dict().items():
        assert torch.equal(value, before[name])
    assert model.input_mean.flatten().tolist() == [127.5] * len(model.input_mean)
