"""Each change to an image against what it should come to."""

import numpy as np
import pytest
from scipy import stats

from tlui.recipe.schema import Augment
from tlui.trainer import augment as change

SIZE = 12
PINNED = [[0.10675591068948032, 0.05574838293267259], [0.9062369702201023, 0.1014888246705653]]
PINNED_ORDER = [5, 6, 0, 1, 2, 4, 3, 7]


@pytest.fixture
def photo():
    return np.random.default_rng(4).integers(0, 256, (1, SIZE, SIZE, 3)).astype(np.float32)


def warp(images, matrices, fill="constant"):
    return change.warp(images.astype(np.uint8), matrices, SIZE, fill)


class TestChances:
    def test_an_image_has_the_same_whoever_is_beside_it(self):
        many = change.uniforms(3, 5, np.arange(100), 7)
        alone = np.concatenate([change.uniforms(3, 5, [i], 7) for i in range(100)])
        np.testing.assert_array_equal(many, alone)

    def test_another_seed_epoch_or_image_has_others(self):
        base = change.uniforms(3, 5, [9], 7)
        for other in ((4, 5, [9]), (3, 6, [9]), (3, 5, [10])):
            assert not np.isin(change.uniforms(*other, 7), base).any()

    def test_they_are_uniform_and_independent(self):
        drawn = change.uniforms(1, 0, np.arange(20_000), 4)
        assert drawn.min() >= 0
        assert drawn.max() < 1
        for column in drawn.T:
            assert stats.kstest(column, "uniform").pvalue > 1e-3
        off_diagonal = np.corrcoef(drawn.T)[~np.eye(4, dtype=bool)]
        assert np.abs(off_diagonal).max() < 0.03
        assert abs(np.corrcoef(drawn[:-1, 0], drawn[1:, 0])[0, 1]) < 0.03

    def test_an_added_column_leaves_the_others(self):
        few, more = (change.uniforms(1, 2, [3, 4], n) for n in (5, 6))
        np.testing.assert_array_equal(few, more[:, :5])

    def test_they_are_these_numbers_for_ever(self):
        """A run resumed with a later tlui must see what it would have seen."""
        drawn = change.uniforms(1, 0, [0, 1], 2)
        np.testing.assert_allclose(drawn, PINNED, rtol=0, atol=1e-15)
        assert change.order(1, 0, 8).tolist() == PINNED_ORDER


class TestGeometry:
    def test_mirrors_are_numpys(self, photo):
        rows = change.affine(SIZE, 0.0, horizontal=True)
        np.testing.assert_array_equal(warp(photo, rows), photo[:, :, ::-1])
        rows = change.affine(SIZE, 0.0, vertical=True)
        np.testing.assert_array_equal(warp(photo, rows), photo[:, ::-1])

    @pytest.mark.parametrize("turns", [1, 2, 3])
    def test_quarter_turns_are_rot90(self, photo, turns):
        rows = change.affine(SIZE, turns * np.pi / 2)
        turned = warp(photo, rows)
        np.testing.assert_array_equal(turned, np.rot90(photo, turns, axes=(1, 2)))

    def test_a_move_leaves_black_behind(self, photo):
        moved = warp(photo, change.affine(SIZE, 0.0, move_x=3, move_y=2))
        np.testing.assert_array_equal(moved[:, 2:, 3:], photo[:, :-2, :-3])
        assert (moved[:, :2] == 0).all()
        assert (moved[:, :, :3] == 0).all()

    @pytest.mark.parametrize(
        ("fill", "mode"), [("nearest", "edge"), ("reflect", "symmetric"), ("wrap", "wrap")]
    )
    def test_fill(self, photo, fill, mode):
        moved = warp(photo, change.affine(SIZE, 0.0, move_x=3), fill)
        padded = np.pad(photo, ((0, 0), (0, 0), (3, 0), (0, 0)), mode)[:, :, :SIZE]
        np.testing.assert_array_equal(moved, padded)

    def test_doubling_shows_the_middle_half_twice_as_large(self):
        ramp = np.broadcast_to(
            20 * np.arange(SIZE, dtype=np.uint8)[None, None, :, None], (1, SIZE, SIZE, 3)
        )
        seen = warp(ramp, change.affine(SIZE, 0.0, factor=2.0))[0, 0, :, 0]
        centre = (SIZE - 1) / 2
        true = 20 * (centre + (np.arange(SIZE) - centre) / 2)
        np.testing.assert_allclose(seen, true, atol=0.5)

    def test_a_crop_is_a_slice(self):
        large = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), np.uint8)
        rows = change.affine(SIZE, 0.0, top=3, left=1)
        np.testing.assert_array_equal(warp(large, rows), large[:, 3:15, 1:13])

    def test_the_affine_way_agrees_with_the_copying_way(self):
        large = np.random.default_rng(0).integers(0, 256, (32, 16, 16, 3), np.uint8)
        augment = Augment(flip="both", crop_from=16)
        chances = change.uniforms(1, 0, np.arange(32), change.CHANCES)
        copied = change.flip_and_crop(large, augment, SIZE, chances)
        warped = warp(large, change.transforms(augment, 16, SIZE, chances))
        np.testing.assert_array_equal(copied, warped)
        assert copied.dtype == np.uint8

    def test_amounts_span_their_ranges(self):
        augment = Augment(rotation=30, zoom=0.2, shift=0.1)
        chances = change.uniforms(1, 0, np.arange(4000), change.CHANCES)
        a0, a1, _, b0, b1, _ = change.transforms(augment, SIZE, SIZE, chances).reshape(-1, 6).T
        angle, factor = np.degrees(np.arctan2(-a1, a0)), 1 / np.hypot(a0, a1)
        np.testing.assert_allclose(angle, np.degrees(np.arctan2(b0, b1)), atol=1e-3)
        assert -30 <= angle.min() < -29
        assert 29 < angle.max() <= 30
        assert 0.8 <= factor.min() < 0.81
        assert 1.19 < factor.max() <= 1.2 + 1e-6

    @pytest.mark.parametrize(
        ("flip", "across", "down"),
        [("none", 0, 0), ("horizontal", 1, 0), ("vertical", 0, 1), ("both", 1, 1)],
    )
    def test_half_are_flipped(self, flip, across, down):
        chances = change.uniforms(1, 0, np.arange(4000), change.CHANCES)
        horizontal, vertical = change.flips(Augment(flip=flip), chances)
        assert horizontal.mean() == pytest.approx(across / 2, abs=0.03)
        assert vertical.mean() == pytest.approx(down / 2, abs=0.03)

    def test_every_corner_of_a_crop_comes_up(self):
        chances = change.uniforms(1, 0, np.arange(4000), change.CHANCES)
        top, left = change.crop_corners(15, 12, chances)
        assert set(zip(top, left, strict=True)) == {(y, x) for y in range(4) for x in range(4)}

    def test_the_centre_crop(self):
        large = np.arange(16).reshape(1, 4, 4, 1)
        np.testing.assert_array_equal(change.centre_crop(large, 2)[0, :, :, 0], [[5, 6], [9, 10]])


class TestColour:
    def test_brightness_adds_a_share_of_the_range(self, photo):
        np.testing.assert_allclose(change.brighten(photo, [0.1]), photo + 25.5, atol=1e-4)

    def test_contrast_scales_about_each_channels_mean(self, photo):
        mean = photo.mean(axis=(1, 2), keepdims=True)
        expected = (photo - mean) * 1.5 + mean
        np.testing.assert_allclose(change.contrast(photo, [1.5]), expected, atol=1e-3)

    def test_noise_has_its_deviation_and_is_the_seeds(self):
        flat = np.full((3, 64, 64, 3), 128, np.float32)
        seeds = np.array([[1, 2], [1, 3], [1, 2]])
        noisy = np.asarray(change.add_noise(flat, seeds, 10.0)) - 128
        assert noisy[0].std() == pytest.approx(10, rel=0.03)
        assert abs(noisy[0].mean()) < 0.5
        np.testing.assert_array_equal(noisy[0], noisy[2])
        assert np.abs(noisy[0] - noisy[1]).max() > 1

    def test_everything_stays_within_the_range(self, photo):
        chances = change.uniforms(1, 0, [0], change.CHANCES).astype(np.float32)
        augment = Augment(brightness=0.9, contrast=0.9, noise=0.5)
        for column in (0.0, 0.999):
            chances[:] = column
            out = np.asarray(change.recolour(augment, photo, SIZE, chances, np.array([[1, 2]])))
            assert out.min() >= 0
            assert out.max() <= 255

    def test_cutout_is_one_black_square(self):
        white = np.full((1, SIZE, SIZE, 3), 255, np.float32)
        chances = np.full((1, change.CHANCES), 0.5, np.float32)
        out = np.asarray(
            change.recolour(Augment(cutout=1 / 3), white, SIZE, chances, np.array([[1, 2]]))
        )
        expected = white.copy()
        expected[:, 4:8, 4:8] = 0
        np.testing.assert_array_equal(out, expected)


class TestMixing:
    def test_mixup_weighs_images_and_labels_alike(self, photo):
        other, one = photo[:, ::-1], np.eye(3, dtype=np.float32)
        images, labels = change.mixup(photo, one[:1], other, one[1:2], [0.25])
        np.testing.assert_allclose(images, 0.25 * photo + 0.75 * other, atol=1e-4)
        np.testing.assert_allclose(labels, [[0.25, 0.75, 0]])

    def test_cutmix_labels_are_the_area_that_is_seen(self):
        zeros, ones = np.zeros((2, 16, 16, 3), np.float32), np.ones((2, 16, 16, 3), np.float32)
        hot = np.eye(2, dtype=np.float32)
        images, labels = change.cutmix(
            zeros, hot[[0, 0]], ones, hot[[1, 1]], [0.75, 0.75], [8, 0], [8, 0]
        )
        seen = np.asarray(images).mean(axis=(1, 2, 3))
        np.testing.assert_allclose(seen, [1 / 4, 1 / 16])
        np.testing.assert_allclose(np.asarray(labels)[:, 1], seen)
        np.testing.assert_allclose(np.asarray(labels).sum(axis=1), 1)

    @pytest.mark.parametrize("parameter", [0.2, 1.0, 3.0])
    def test_shares_are_beta(self, parameter):
        drawn = change.beta(parameter, change.uniforms(1, 0, np.arange(5000), 1)[:, 0])
        assert stats.kstest(drawn, stats.beta(parameter, parameter).cdf).pvalue > 1e-3


def test_what_counts_as_on():
    assert not change.changes(None)
    assert not change.changes(Augment())
    assert not change.changes(Augment(fill="wrap"))
    assert change.changes(Augment(noise=0.1))
    assert change.changes(Augment(crop_from=32))
