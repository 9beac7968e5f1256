"""The benchmark of cut-outs: what it draws is what it says, and its errors are zero for the truth."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from tools.benchmarks import cutouts
from tools.benchmarks.composites import KINDS, draw_composite


@pytest.mark.parametrize("seed", range(len(KINDS)))
def test_composite_is_its_foreground_over_a_background(seed):
    drawn, again = draw_composite(seed), draw_composite(seed)
    np.testing.assert_array_equal(drawn.image, again.image)
    assert drawn.kind == [*KINDS][seed]
    assert drawn.alpha.min() == 0
    assert 0.1 < drawn.alpha.max() <= 1
    opaque = drawn.alpha == 1
    assert np.abs(drawn.image[opaque] - drawn.foreground[opaque]).max(initial=0) <= 0.51
    assert cutouts.errors(drawn, drawn.alpha, drawn.foreground) == [0, 0, 0, 0, 0]
    assert min(cutouts.errors(drawn, drawn.alpha * 0.9, drawn.foreground)) > 0


def test_gradient_is_that_of_gaussian_derivatives():
    alpha = draw_composite(3).alpha
    expected = [gaussian_filter(alpha.astype(np.float64), 1.4, order, radius=4) for order in ((0, 1), (1, 0))]
    expected = np.hypot(*expected)[10:-10, 10:-10]
    found = cutouts.gradient(alpha)[10:-10, 10:-10]
    scale = found.max() / expected.max()  # Rhemann et al. scale each filter to unit energy
    np.testing.assert_allclose(found, scale * expected, atol=2e-3 * found.max())


def test_composites_without_photographs_print_both_tables(capsys, tmp_path):
    assert cutouts.main(["composites", "--last", "100", "--alpha", "true", "--data", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "seeds 100 to 100, drawn as backgrounds" in printed
    assert all(f"hair (1), {way}" in printed for way in cutouts.WAYS)


def test_composites_are_measured_with_the_maps_of_a_network(capsys, tmp_path, known_weights, small_drawing):
    assert cutouts.main(["composites", "--last", "100", "--alpha", "u2netp", "--data", str(tmp_path)]) == 0
    assert "all (1), plain" in capsys.readouterr().out


def test_picture_is_written(tmp_path):
    save = tmp_path / "picture.png"
    assert cutouts.main(["picture", "--save", str(save), "--data", str(tmp_path)]) == 0
    assert cv2.imread(str(save)).shape == (240, 4 * 280 + 3 * 6, 3)
