"""Image files, found and read."""

import numpy as np
import pytest
import torch
from PIL import Image

from hmc_shared.vision.image_files import find_images, read_image


@pytest.fixture
def pictures(tmp_path):
    (tmp_path / "more" / ".cache").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    rng = np.random.default_rng(0)
    for name in ("b.png", "a.JPG", "more/c.webp"):
        Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    for name in ("._b.png", "more/.cache/d.png"):  # as file systems and tools leave them
        (tmp_path / name).write_text("no picture")
    return tmp_path


def test_files_and_folders(pictures):
    inside = [pictures / name for name in ("a.JPG", "b.png", "more/c.webp")]
    assert find_images([str(pictures)]) == inside
    assert find_images([pictures / "b.png", pictures / "more"]) == [inside[1], inside[2]]
    Image.new("RGB", (4, 4)).save(pictures / "more" / "c.ppm")
    assert find_images([pictures / "more"]) == [pictures / "more" / name for name in ("c.ppm", "c.webp")]
    with pytest.raises(ValueError, match=r"empty should hold images\. Found none"):
        find_images([pictures / "empty"])
    with pytest.raises(ValueError, match=r"gone\.jpg .*Found nothing there"):
        find_images([pictures / "gone.jpg"])


def test_images_are_brought_to_the_shape_of_the_model(pictures):
    with Image.open(pictures / "b.png") as opened:
        pixels = torch.from_numpy(np.array(opened)).permute(2, 0, 1)
    image = read_image(pictures / "b.png", (3, 12, 12), "crop")
    assert image.dtype == torch.uint8
    assert torch.equal(image, pixels[:, :, 2:14])
    assert read_image(pictures / "a.JPG", (1, 8, 8), "imagenet").shape == (1, 8, 8)
    with pytest.raises(ValueError, match=r"notes\.txt is not an image"):
        read_image(pictures / "notes.txt", (3, 12, 12), "crop")
