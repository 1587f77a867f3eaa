"""JSON files of COCO, iNaturalist, MegaDetector and SpeciesNet: a sample of each."""

import json
from copy import deepcopy

import pytest

from hmc_shared.data import load_dataset
from hmc_shared.data.formats.image_json import read_images

FOX = "1dd9a3f1-c9d8-4a3d-b10a-4b0d4e6b2a3c;mammalia;carnivora;canidae;vulpes;vulpes;red fox"
DOGS = "3d80f1d6-b1df-4966-9ff4-94053c7a902a;mammalia;carnivora;canidae;;;canidae family"
BLANK = "f1856211-cfb7-4a5b-9158-c0f72fd09ee6;;;;;;blank"
CANIDAE = ("mammalia", "carnivora", "canidae")

COCO = {
    "info": {"year": 2017},
    "images": [{"id": 9, "file_name": "a.png", "width": 4, "height": 4}, {"id": 8, "file_name": "b.png"}],
    "annotations": [
        {"id": 1, "image_id": 9, "category_id": 18, "bbox": [0, 0, 2, 2], "segmentation": [[0, 0, 1, 1]]},
        {"id": 2, "image_id": 9, "category_id": 18, "iscrowd": 1},
        {"id": 3, "image_id": 9, "category_id": 1},
    ],
    "categories": [
        {"supercategory": "person", "id": 1, "name": "person"},
        {"supercategory": "animal", "id": 18, "name": "dog"},
    ],
}
INATURALIST = {
    "images": [{"id": 0, "file_name": "train_val2019/Birds/0/a.png"}, {"id": 1, "file_name": "b.png"}],
    "annotations": [{"id": 0, "image_id": 0, "category_id": 5}, {"id": 1, "image_id": 1, "category_id": 6}],
    "categories": [
        {
            "id": 5,
            "name": "Turdus merula",
            "kingdom": "Animalia",
            "phylum": "Chordata",
            "class": "Aves",
            "order": "Passeriformes",
            "family": "Turdidae",
            "genus": "Turdus",
            "supercategory": "Birds",
        },
        {"id": 6, "name": "Quercus robur", "supercategory": "Plantae"},  # as in 2017
    ],
}
CAMERA_TRAPS = {
    "images": [{"id": "x", "file_name": "a.png", "seq_id": "s", "location": 3}],
    "annotations": [{"id": "y", "image_id": "x", "category_id": 0}],
    "categories": [{"id": 0, "name": "empty"}],
}
MEGADETECTOR = {
    "info": {"format_version": "1.4"},
    "detection_categories": {"1": "animal", "2": "person"},
    "classification_categories": {"0": "red fox", "1": "canid"},
    "images": [
        {
            "file": "a.png",
            "detections": [
                {
                    "category": "1",
                    "conf": 0.9,
                    "bbox": [0, 0, 0.5, 0.5],
                    "classifications": [["1", 0.2], ["0", 0.7]],
                },
                {"category": "2", "conf": 0.8, "bbox": [0, 0, 0.5, 0.5]},
                {"category": "2", "conf": 0.1, "bbox": [0, 0, 0.5, 0.5]},
            ],
        },
        {"file": "sub\\b.png", "detections": []},
        {"file": "c.png", "failure": "Failure image access", "detections": None},
    ],
}
DESCRIBED = MEGADETECTOR | {"classification_category_descriptions": {"0": FOX, "1": DOGS}}
SPECIESNET = {
    "predictions": [
        {"filepath": "a.png", "prediction": DOGS, "prediction_score": 0.8, "prediction_source": "rollup"},
        {"filepath": "b.png", "classifications": {"classes": [FOX, BLANK], "scores": [0.9, 0.1]}},
        {"filepath": "c.png", "failures": ["CLASSIFIER"]},
        {"filepath": "d.png", "prediction": BLANK},
    ]
}
TURDUS = ("Animalia", "Chordata", "Aves", "Passeriformes", "Turdidae", "Turdus", "Turdus merula")
SAMPLES = {
    "coco": (COCO, {"a.png": [("animal", "dog"), ("person",)], "b.png": []}, 0),
    "iNaturalist": (
        INATURALIST,
        {"train_val2019/Birds/0/a.png": [TURDUS], "b.png": [("Plantae", "Quercus robur")]},
        0,
    ),
    "camera traps": (CAMERA_TRAPS, {"a.png": [("empty",)]}, 0),
    "MegaDetector": (MEGADETECTOR, {"a.png": [("animal", "red fox"), ("person",)], "sub/b.png": []}, 1),
    "described": (DESCRIBED, {"a.png": [(*CANIDAE, "vulpes", "vulpes"), ("person",)], "sub/b.png": []}, 1),
    "SpeciesNet": (
        SPECIESNET,
        {"a.png": [CANIDAE], "b.png": [(*CANIDAE, "vulpes", "vulpes")], "d.png": [("blank",)]},
        1,
    ),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_of_each(tmp_path, name):
    content, expected, notes = SAMPLES[name]
    images, found = read_images(content, tmp_path / "x.json")
    assert images == expected
    assert [note for note in found if "c.png" not in note] == []
    assert len(found) == notes


def every_place(content):
    """The keys that lead to each value inside."""
    if isinstance(content, dict | list):
        for key in content if isinstance(content, dict) else range(len(content)):
            yield (key,)
            yield from ((key, *rest) for rest in every_place(content[key]))


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("value", [None, 7, [], {}, "gone", "\ud800"], ids=repr)
def test_what_is_damaged_is_read_or_named(tmp_path, name, value):
    """Any value of a file replaced by another: no error but a ValueError of one line that names the file."""
    for keys in every_place(SAMPLES[name][0]):
        content = deepcopy(SAMPLES[name][0])
        inside = content
        for key in keys[:-1]:
            inside = inside[key]
        inside[keys[-1]] = value
        images, refused = {}, None
        try:
            images, _ = read_images(content, tmp_path / "x.json")
        except ValueError as error:
            refused = str(error)
        assert refused is None or refused.startswith(str(tmp_path / "x.json"))
        assert all(isinstance(part, str) for paths in images.values() for path in paths for part in path)


def test_another_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"x\.json should be of COCO .* Found cats, dogs\."):
        read_images({"cats": 1, "dogs": 2}, tmp_path / "x.json")


def write_set(folder, encode, name="all", count=12, below=""):
    content = deepcopy(COCO) | {"images": [], "annotations": []}
    (folder / below).mkdir(parents=True, exist_ok=True)
    for i in range(count):
        content["images"].append({"id": i, "file_name": f"{name}-{i}.png"})
        content["annotations"].append({"image_id": i, "category_id": (1, 18)[i % 2]})
        (folder / below / f"{name}-{i}.png").write_bytes(encode((4, 4)))
    (folder / f"{name}.json").write_text(json.dumps(content))


def test_a_file_is_a_data_set(tmp_path, encode):
    write_set(tmp_path, encode)
    dataset = load_dataset(f"labels:{tmp_path / 'all.json'}")
    assert dataset.hierarchy.names == ("person", "animal", "dog")
    assert sum(map(len, dataset.splits.values())) == 12
    assert dataset.train.targets.any(1).all()


def test_a_folder_of_files_has_their_splits(tmp_path, encode):
    write_set(tmp_path, encode, "instances_train2017", 12)
    write_set(tmp_path, encode, "val2017", 4, "val2017")
    dataset = load_dataset(f"labels:{tmp_path}")
    assert sorted(dataset.test.ids) == [f"val2017/val2017-{i}.png" for i in range(4)]
    assert len(dataset.train) + len(dataset.validation) == 12


def test_no_such_file(tmp_path):
    with pytest.raises(ValueError, match=r"or a \.json file of COCO, MegaDetector and the like"):
        load_dataset(f"labels:{tmp_path / 'none.json'}")
