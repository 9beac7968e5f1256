"""Portraits: the face crop, the drawing and the composite, each compared with code of others."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage import filters, transform

from paddleseg_u2net.inference import portraits
from paddleseg_u2net.inference.outputs import OutputSettings, write_output
from paddleseg_u2net.inference.portraits import (
    FaceCrop,
    PortraitPredictor,
    blend,
    crop_face,
    find_face,
    portrait_outputs,
    resize_drawing,
)
from paddleseg_u2net.inference.prediction import Prediction
from paddleseg_u2net.inference.predictor import Predictor
from paddleseg_u2net.inference.result import Result
from paddleseg_u2net.io.images import Photograph

RNG = np.random.default_rng(0)
CONFIG = {
    "model": {"type": "U2Net", "num_classes": 1},
    "val_dataset": {
        "num_classes": 1,
        "transforms": [{"type": "ResizeSoftMask", "target_size": [512, 512]}, {"type": "NormalizeByMax"}],
    },
}


class Brightness:
    """A network that sees lines where an image is dark; it keeps the shapes of its inputs."""

    def __init__(self):
        self.inputs: list[np.ndarray] = []

    def __call__(self, batch):
        self.inputs.append(batch)
        return (0.6 - 0.1 * batch[:, :1]).astype(np.float32)


def drawing_model(face_crop: bool = True) -> tuple[PortraitPredictor, Brightness]:
    network = Brightness()
    return PortraitPredictor(Predictor(network, CONFIG), face_crop), network


def save(path, image):
    Image.fromarray(image).save(path)
    return path


@pytest.fixture
def half_photo(photos):
    """A photograph with one face, at half its size: 256 x 256."""
    return np.asarray(Image.fromarray(photos["astronaut.png"]).resize((256, 256), Image.Resampling.BOX))


def square_by_coordinates(image: np.ndarray, face) -> np.ndarray:
    """The crop of u2net_portrait_demo.py:31-89@ac7e1c8, looked up pixel by pixel in a large white canvas."""
    x, y, w, h = face
    margin = 4 * max(*image.shape[:2], w, h)
    canvas = np.full((image.shape[0] + 2 * margin, image.shape[1] + 2 * margin, 3), 255, np.uint8)
    canvas[margin : margin + image.shape[0], margin : margin + image.shape[1]] = image
    rows = np.arange(y - np.trunc(h * 0.6), y + h + np.trunc(h * 0.2)).astype(int)
    columns = np.arange(x - np.trunc(w * 0.4), x + w + np.trunc(w * 0.4)).astype(int)
    crop = canvas[np.ix_(rows + margin, columns + margin)]
    height, width = crop.shape[:2]
    half = abs(height - width) // 2
    if abs(height - width) <= 2:
        return crop
    place = (half, 0) if height > width else (0, half)
    pad = Image.new("RGB", (width + 2 * place[0], height + 2 * place[1]), "white")
    pad.paste(Image.fromarray(crop), place)
    return np.asarray(pad)


FACES = [
    (60, 50, 20, 20),  # all inside
    (0, 0, 30, 30),  # beyond the left and the top
    (75, 50, 45, 45),  # beyond the right and the bottom
    (0, 0, 120, 100),  # the whole image
    (50, 40, 10, 31),  # much taller than wide
    (20, 40, 50, 7),  # much wider than tall
    (60, 50, 11, 12),  # sides that differ by two pixels stay
    (60, 50, 1, 1),
    (119, 99, 1, 1),
]


@pytest.mark.parametrize("face", FACES)
def test_face_crop_is_that_of_the_official_demo(face):
    image = RNG.integers(0, 255, (100, 120, 3), dtype=np.uint8)
    found = crop_face(image, face)
    np.testing.assert_array_equal(found, square_by_coordinates(image, face))
    assert abs(found.shape[0] - found.shape[1]) <= 2


def test_largest_face_is_found_and_it_is_that_of_the_astronaut(half_photo):
    x, y, w, h = find_face(half_photo)
    assert 88 < x + w / 2 < 136  # where her face is, by eye
    assert 30 < y + h / 2 < 84
    assert 30 < w < 80
    small = np.asarray(Image.fromarray(half_photo).resize((160, 160), Image.Resampling.BOX))
    both = np.full((256, 460, 3), 128, np.uint8)
    both[:160, :160], both[:, 200:456] = small, half_photo
    assert abs(find_face(both)[0] - 200 - x) < 10
    both = both[:, ::-1].copy()
    assert find_face(both)[0] < 256


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (90, 1), (24, 24), (200, 200)])
def test_plain_images_have_no_face(size):
    assert find_face(np.full((*size, 3), 77, np.uint8)) is None


def test_grey_photograph_has_the_same_face(half_photo, tmp_path):
    grey = Image.fromarray(half_photo).convert("L")
    grey.save(tmp_path / "grey.png")
    model, _ = drawing_model()
    opened = model.open(tmp_path / "grey.png").image
    assert isinstance(opened, FaceCrop)
    assert opened.shape[2] == 3


def test_crop_is_shrunk_as_by_the_official_demo_and_drawn_at_its_own_size(half_photo, tmp_path):
    path = save(tmp_path / "a.png", half_photo)
    model, network = drawing_model()
    crop = np.asarray(model.open(path).image)
    np.testing.assert_array_equal(crop, square_by_coordinates(half_photo, find_face(half_photo)))
    drawing = model(path).saliency
    (batch,) = network.inputs
    small = cv2.resize(crop, (512, 512), interpolation=cv2.INTER_AREA).astype(np.float64)
    scaled = small / small.max()
    # R with the constants of R, which the demo exchanges with those of B
    expected = (scaled - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(batch[0].transpose(1, 2, 0), expected, atol=1e-5)
    assert drawing.shape == crop.shape[:2]
    assert drawing.dtype == np.float32
    red = small[..., 0]
    stretched = (red - red.min()) / (red.max() - red.min())  # `Brightness` gives the negative
    reference = transform.resize(stretched, crop.shape[:2], order=2)
    assert np.abs(drawing - reference).mean() < 0.01


def test_arrays_and_images_of_pillow_are_cropped_as_their_files_are(half_photo, tmp_path):
    model, _ = drawing_model()
    image = Image.fromarray(half_photo)
    image.putalpha(200)
    image.save(tmp_path / "a.png")
    results = [model(source) for source in (tmp_path / "a.png", image, np.asarray(image))]
    for result in results:
        np.testing.assert_array_equal(result.saliency, results[0].saliency)
        assert result.alpha.shape == result.saliency.shape == result.image.shape[:2] != half_photo.shape[:2]


def test_image_without_a_face_is_drawn_whole_and_noted(tmp_path, monkeypatch):
    monkeypatch.setattr(portraits, "WHOLE_SIDE", 100)
    sizes = {(40, 60): (40, 60), (1, 1): (1, 1), (90, 200): (45, 100), (2, 1000): (1, 100)}
    for size, drawn in sizes.items():
        model, network = drawing_model()
        photograph = model.open(save(tmp_path / "a.png", RNG.integers(0, 9, (*size, 3), dtype=np.uint8)))
        assert [(note.kind, note.text) for note in photograph.notes] == [("face", "the whole image is drawn")]
        assert model.predict([photograph.image])[0].saliency.shape == size
        assert network.inputs[0].shape[2:] == drawn


def test_without_face_crop_every_image_is_512_as_in_the_other_official_scripts(half_photo, tmp_path):
    model, network = drawing_model(face_crop=False)
    photograph = model.open(save(tmp_path / "a.png", half_photo[:, :100]))
    assert (photograph.notes, photograph.image.shape) == ((), (256, 100, 3))
    assert model.predict([photograph.image])[0].saliency.shape == (256, 100)
    assert network.inputs[0].shape == (1, 3, 512, 512)


def test_network_that_sees_no_lines_leaves_the_paper_white():
    model, _ = drawing_model(face_crop=False)
    prediction = model.predict([np.full((7, 9, 3), 50, np.uint8)])[0]
    np.testing.assert_allclose(prediction.saliency, 1, atol=1e-6)


@pytest.mark.parametrize("sigma", [0, 0.05, 0.4, 2, 20])
@pytest.mark.parametrize("alpha", [0, 0.5, 1])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (40, 33)])
def test_composite_is_that_of_scipy_in_float64(sigma, alpha, size):
    photograph = RNG.integers(0, 256, (*size, 3), dtype=np.uint8)
    drawing = (RNG.random(size) * 0.7).astype(np.float32)
    exact = photograph.astype(np.float64)
    blurred = ndimage.gaussian_filter(exact, (sigma, sigma, 0), mode="nearest", truncate=4)
    scaled = drawing.astype(np.float64) / (drawing.max() + 1e-8) * 255
    expected = blurred * alpha + scaled[..., None] * (1 - alpha)
    found = blend(photograph, drawing, sigma, alpha)
    assert found.dtype == np.uint8
    assert np.abs(found - expected).max() <= 0.501


def test_composite_of_scikit_image_is_met(photos):
    """`transform.resize(order=2)` and `filters.gaussian` are what the authors' script calls."""
    photograph = photos["astronaut.png"][:300, :280]
    grid = np.linspace(0, 12, 512)
    lines = np.cos(grid)[:, None] * np.sin(grid * 2)[None]
    drawing = (lines - lines.min()) / (lines.max() - lines.min())
    for size in ((300, 280), (700, 650)):
        image = transform.resize(photograph, size, preserve_range=True).astype(np.uint8)
        pd = transform.resize(drawing, size, order=2)
        pd = pd / (np.amax(pd) + 1e-8) * 255
        expected = (
            filters.gaussian(image, 20, preserve_range=True, channel_axis=-1) * 0.5 + pd[..., None] * 0.5
        )
        ours = resize_drawing(drawing.astype(np.float32), size)
        assert np.abs(blend(image, ours, 20, 0.5) - expected).max() < 1.5


def test_black_drawing_and_full_range_stay_in_range():
    photograph = np.full((5, 5, 3), 255, np.uint8)
    np.testing.assert_array_equal(blend(photograph, np.zeros((5, 5), np.float32), 0, 0), 0)
    np.testing.assert_array_equal(blend(photograph, np.ones((5, 5), np.float32), 3, 0.3), 255)


def test_outputs_are_grey_drawing_and_colour_composite(tmp_path):
    assert list(portrait_outputs()) == list(portrait_outputs(2)) == ["portrait"]
    image = RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    prediction = Prediction(np.linspace(0, 1, 48, dtype=np.float32).reshape(1, 6, 8))
    result, table = Result(Photograph(image), prediction), portrait_outputs(1, 0.25)
    for name in table:
        write_output(name, tmp_path / f"{name}.png", result, OutputSettings(), Path("a.jpg"), table)
    np.testing.assert_array_equal(
        np.asarray(Image.open(tmp_path / "portrait.png")), np.floor(prediction.saliency * 255 + 0.5)
    )
    np.testing.assert_array_equal(
        np.asarray(Image.open(tmp_path / "composite.png")), blend(image, prediction.saliency, 1, 0.25)
    )


def test_model_that_cannot_draw_is_rejected():
    config = {**CONFIG, "model": {"type": "U2Net", "num_classes": 2}}
    predictor = Predictor(Brightness(), config)
    with pytest.raises(ValueError, match="num_classes: 2.*Fix: --model_path u2net_portrait"):
        PortraitPredictor(predictor)


def test_installation_without_a_face_detector_is_told_the_ways_out(monkeypatch, tmp_path):
    monkeypatch.setattr(cv2.data, "haarcascades", str(tmp_path))
    with pytest.raises(ValueError, match="without haarcascade_.*Fix: pip install .*or --no_face_crop"):
        drawing_model()
    (tmp_path / portraits.CASCADE).write_text("damaged")
    with pytest.raises(ValueError, match="damaged one"):
        drawing_model()
    assert drawing_model(face_crop=False)
