"""Overlays of masks on photographs."""

from __future__ import annotations

import numpy as np

from paddleseg_u2net.data.visualize import make_palette, outlined


def test_outlined_mask_colours_object_and_ignored_pixels():
    image = np.full((360, 720, 3), 100, np.uint8)
    mask = np.zeros((360, 720), np.float32)
    mask[:, 240:480], mask[:, 480:] = 1, 255
    drawn = outlined(image, mask, make_palette(1), 180)
    assert drawn.shape == (180, 360, 3)
    np.testing.assert_array_equal(drawn[90, 60], (100, 100, 100))
    np.testing.assert_array_equal(drawn[90, 180], (50, 150, 95))  # half of (0, 200, 90)
    np.testing.assert_array_equal(drawn[90, 300], (178, 50, 178))
    assert outlined(image[:1, :1], mask, make_palette(1), 180).shape == (180, 180, 3)
