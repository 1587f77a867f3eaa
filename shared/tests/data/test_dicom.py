"""DICOM files and windows of percentiles: against the numbers that were written."""

import io

import numpy as np
import pytest
from PIL import Image

from hmc_shared.data import load_dataset
from hmc_shared.data.image_table import decode, image_size

pydicom = pytest.importorskip("pydicom")


def dicom(pixels, photometric="MONOCHROME2", **tags) -> bytes:
    """A file of explicit little endian with frames (n, height, width) or a frame (height, width[, 3])."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    file.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    file.SOPClassUID = SecondaryCaptureImageStorage
    file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID
    is_colour = photometric == "RGB"
    if pixels.ndim == 3 and not is_colour:
        file.NumberOfFrames = len(pixels)
    file.Rows, file.Columns = pixels.shape[:2] if is_colour else pixels.shape[-2:]
    file.SamplesPerPixel, file.PhotometricInterpretation = (3 if is_colour else 1), photometric
    if is_colour:
        file.PlanarConfiguration = 0
    file.BitsAllocated = 8 * pixels.dtype.itemsize
    file.BitsStored = tags.pop("BitsStored", file.BitsAllocated)
    file.HighBit = file.BitsStored - 1
    file.PixelRepresentation = int(pixels.dtype.kind == "i")
    file.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(file, name, value)
    out = io.BytesIO()
    file.save_as(out, enforce_file_format=True)
    return out.getvalue()


RAMP = np.arange(0, 4096, 16, dtype=np.uint16).reshape(8, 32)  # of 12 bits


def grey(content: bytes, **options) -> np.ndarray:
    pixels = decode(content, **options)
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0].astype(int)


def test_all_numbers_that_the_bits_can_store_are_the_range():
    content = dicom(RAMP, BitsStored=12)
    assert image_size(content) == (32, 8)
    np.testing.assert_allclose(grey(content), RAMP / 4095 * 255.999, atol=1)


def test_monochrome1_is_inverted():
    np.testing.assert_allclose(
        grey(dicom(RAMP, "MONOCHROME1", BitsStored=12)), (1 - RAMP / 4095) * 255.999, atol=1
    )


def test_the_window_of_the_file_is_one_of_rescaled_numbers():
    """Hounsfield units -1024 to 3071 of stored 0 to 4095; the window shows -160 to 240."""
    tags = {"RescaleSlope": 1, "RescaleIntercept": -1024, "WindowCenter": [40, 0], "WindowWidth": [400, 1]}
    expected = np.clip((RAMP.astype(float) - 1024 + 160) / 400, 0, 1) * 255.999
    np.testing.assert_allclose(grey(dicom(RAMP, BitsStored=12, **tags)), expected, atol=1)


def test_signed_numbers_the_first_frame_and_colours():
    signed = (RAMP.astype(np.int16) - 2048)[None].repeat(2, 0)
    signed[1] = 0
    expected = (signed[0].astype(float) + 2048) / 4095 * 255.999
    np.testing.assert_allclose(grey(dicom(signed, BitsStored=12)), expected, atol=1)
    colours = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decode(dicom(colours, "RGB")), colours)


@pytest.mark.parametrize("window", [(0, 100), (1, 99), (25, 60)])
@pytest.mark.parametrize("kind", ["png", "tiff float", "dicom", "dicom inverted"])
def test_a_window_scales_between_the_percentiles_of_the_image(window, kind):
    values = np.random.default_rng(1).integers(300, 1500, (20, 30)).astype(np.uint16)
    numbers, out = values.astype(float), io.BytesIO()
    if kind == "png":
        Image.fromarray(values).save(out, "png")
    elif kind == "tiff float":
        numbers = numbers * 7 - 3000
        Image.fromarray(numbers.astype(np.float32)).save(out, "tiff")
    else:
        is_inverted = kind == "dicom inverted"
        out.write(
            dicom(values, "MONOCHROME1" if is_inverted else "MONOCHROME2", WindowCenter=1, WindowWidth=2)
        )
        numbers = -numbers if is_inverted else numbers
    low, high = np.percentile(numbers, window)
    expected = np.clip((numbers - low) / (high - low), 0, 1) * 255.999
    np.testing.assert_allclose(grey(out.getvalue(), window=window), expected, atol=1)


def test_a_window_changes_nothing_of_8_bits_and_shows_a_constant_image_black():
    eight, flat = io.BytesIO(), io.BytesIO()
    Image.fromarray(np.arange(100, 164, dtype=np.uint8).reshape(8, 8)).save(eight, "png")
    Image.fromarray(np.full((8, 8), 900, np.uint16)).save(flat, "png")
    assert (decode(eight.getvalue(), window=(1, 99)) == decode(eight.getvalue())).all()
    assert (decode(flat.getvalue(), window=(1, 99)) == 0).all()


@pytest.fixture
def folder(tmp_path):
    lines = ["path,bright,split"]
    for number, split in enumerate(("train", "train", "val", "test")):
        (tmp_path / f"{number}.dcm").write_bytes(
            dicom(RAMP // 4 + 100 * number)
        )  # 16 bits: dark without a window
        lines.append(f"{number}.dcm,{number % 2},{split}")
    (tmp_path / "t.csv").write_text("\n".join([*lines, ""]))
    return tmp_path


def test_a_table_of_dicom_files_is_read_through_a_window(folder):
    dataset = load_dataset(f"labels:{folder / 't.csv'}", window="0,100")
    test = dataset.test.inputs[0]
    assert test.min() == 0
    assert test.max() == 255
    assert dataset.test.select(np.array([0])).inputs.window == (0.0, 100.0)
    assert load_dataset(f"labels:{folder / 't.csv'}").test.inputs[0].max() < 8


@pytest.mark.parametrize("window", ["99,1", "1", "a,b", "-1,50", "1,2,3", "nan,99"])
def test_what_is_no_window_is_refused(folder, window):
    with pytest.raises(ValueError, match=r"`--window` should be two rising percentiles"):
        load_dataset(f"labels:{folder / 't.csv'}", window=window)
    with pytest.raises(ValueError, match=r"`--window` is for files of images"):
        load_dataset("digits", window="1,99")


def test_without_pydicom_the_file_is_refused_by_name(folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(
        ValueError, match=r"0.dcm, a DICOM file, needs pydicom: pip install 'hmc-shared\[dicom\]'"
    ):
        load_dataset(f"labels:{folder / 't.csv'}")


def test_a_damaged_file_is_named(folder):
    content = (folder / "1.dcm").read_bytes()
    (folder / "1.dcm").write_bytes(content[:-100])
    with pytest.raises(ValueError, match=r"'1.dcm' cannot be decoded"):
        load_dataset(f"labels:{folder / 't.csv'}")
