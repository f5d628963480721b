"""Batches: order, resume, augmentation independent of the batch, and what reaches the network."""

import numpy as np
import pytest
import tensorflow as tf

from tlui.errors import TluiError
from tlui.recipe.schema import Augment
from tlui.trainer.pipeline import batches, steps_in

EVERY = {
    "flip": Augment(flip="both"),
    "warp": Augment(flip="both", rotation=20, zoom=0.2, shift=0.1),
    "colour": Augment(brightness=0.2, contrast=0.2),
    "noise": Augment(noise=0.1),
    "cutout": Augment(cutout=0.4),
    "mixup": Augment(mixup=0.4),
    "cutmix": Augment(cutmix=1.0),
    "all": Augment(flip="both", rotation=20, brightness=0.2, noise=0.1, cutout=0.3, mixup=0.4),
}


def epoch(source, **options):
    """All of an epoch, by image: index -> (x, y, label), with the order and batch sizes."""
    options = {"batch_size": 4, "size": 16, "seed": 1, "epoch": 0, "classes": 3, **options}
    seen, order, sizes = {}, [], []
    for index, x, y, label in batches(source, **options).as_numpy_iterator():
        sizes.append(len(index))
        for row in zip(index, x, y, label, strict=True):
            order.append(int(row[0]))
            seen[int(row[0])] = row[1:]
    return seen, order, sizes


def assert_same(one, two):
    assert one.keys() == two.keys()
    for key in one:
        for a, b in zip(one[key], two[key], strict=True):
            np.testing.assert_array_equal(a, b)


def test_every_image_once_and_the_last_batch_partial(images):
    source = images(10)
    seen, order, sizes = epoch(source)
    assert sorted(order) == list(range(10))
    assert order != list(range(10))
    assert sizes == [4, 4, 2]
    assert steps_in(10, 4) == 3
    for i, (x, y, label) in seen.items():
        np.testing.assert_array_equal(x, source.pixels[i])
        np.testing.assert_array_equal(y, np.eye(3)[i % 3])
        assert label == i % 3


def test_pixels_without_augmentation_stay_bytes(images):
    dataset = batches(images(), batch_size=4, size=16, seed=1, epoch=0, classes=3)
    index, x, y, label = dataset.element_spec
    assert (index.dtype, x.dtype, y.dtype, label.dtype) == (
        *(tf.int64, tf.uint8, tf.float32, tf.int32),
    )
    assert x.shape.as_list() == [None, 16, 16, 3]
    assert y.shape.as_list() == [None, 3]


def test_evaluation_is_in_natural_order_and_never_augmented(images):
    source = images(10)
    seen, order, _ = epoch(source, epoch=None, augment=EVERY["all"])
    assert order == list(range(10))
    np.testing.assert_array_equal(np.stack([seen[i][0] for i in order]), source.pixels)


def test_order_is_a_function_of_seed_and_epoch(images):
    source = images(30)
    orders = [epoch(source, seed=s, epoch=e)[1] for s in (1, 2) for e in (0, 1)]
    assert orders == [epoch(source, seed=s, epoch=e)[1] for s in (1, 2) for e in (0, 1)]
    assert len({tuple(o) for o in orders}) == 4


@pytest.mark.parametrize("name", EVERY)
def test_an_image_is_changed_alike_whatever_the_batch_or_the_step(images, name):
    source = images(9)
    augment = EVERY[name]
    whole, order, _ = epoch(source, augment=augment)
    again = epoch(source, augment=augment, batch_size=9)[0]
    assert_same(whole, again)
    late, late_order, _ = epoch(source, augment=augment, start_step=1)
    assert late_order == order[4:]
    assert_same(late, {i: whole[i] for i in late})
    next_epoch = epoch(source, augment=augment, epoch=1)[0]
    assert any((whole[i][0] != next_epoch[i][0]).any() for i in whole)


def test_views_are_the_changes_of_the_first_epochs_in_turn(images):
    source = images(9)
    free = [epoch(source, augment=EVERY["all"].model_copy(update={"mixup": 0}), epoch=e)
            for e in range(1, 6)]  # fmt: skip
    augment = EVERY["all"].model_copy(update={"mixup": 0, "views": 2})
    for e, view in ((1, 1), (2, 2), (3, 1), (4, 2), (5, 1)):
        seen, order, _ = epoch(source, augment=augment, epoch=e)
        assert order == free[e - 1][1]  # the order is the epoch's own
        assert_same(seen, free[view - 1][0])


@pytest.mark.parametrize("name", EVERY)
def test_labels_sum_to_one_and_pixels_stay_in_range(images, name):
    for x, y, _ in epoch(images(9), augment=EVERY[name])[0].values():
        assert y.sum() == pytest.approx(1, abs=1e-6)
        assert x.min() >= 0
        assert x.max() <= 255


def test_mixups_partner_is_the_one_before_in_the_epochs_order(images):
    source = images(7)
    plain, order, _ = epoch(source, batch_size=3)
    mixed = epoch(source, batch_size=3, augment=EVERY["mixup"])[0]
    for position, i in enumerate(order):
        other = plain[order[position - 1]]
        x, y, label = mixed[i]
        assert label == plain[i][2]
        if other[2] == label:
            continue
        share = y[label]
        expected = share * plain[i][0] + (1 - share) * other[0].astype(np.float32)
        np.testing.assert_allclose(x, expected, atol=1e-2)
        np.testing.assert_allclose(y, share * plain[i][1] + (1 - share) * other[1], atol=1e-6)


def test_larger_images_are_cropped_at_random_and_in_the_middle_to_evaluate(images):
    source = images(12, size=20)
    trained = epoch(source, augment=Augment(crop_from=20))[0]
    offsets = set()
    for i, (x, _, _) in trained.items():
        places = [
            (top, left)
            for top in range(5)
            for left in range(5)
            if (source.pixels[i, top : top + 16, left : left + 16] == x).all()
        ]
        assert len(places) == 1
        offsets.update(places)
    assert len(offsets) > 3
    for i, (x, _, _) in epoch(source, epoch=None)[0].items():
        np.testing.assert_array_equal(x, source.pixels[i, 2:18, 2:18])


def test_images_smaller_than_the_network_are_refused(images):
    with pytest.raises(TluiError, match=r"the images have 12 px, the network takes 16 px"):
        epoch(images(size=12))


def test_a_start_beyond_the_end_gives_nothing(images):
    assert epoch(images(10), start_step=3)[1] == []
    assert epoch(images(10), start_step=99)[1] == []


def test_rows_left_out_are_not_read(images):
    source = images(12)
    read = []
    inner = source.batch
    source.batch = lambda indices: (read.extend(indices), inner(indices))[1]
    _, order, _ = epoch(source, start_step=2)
    assert sorted(read) == sorted(order)
    assert len(order) == 4


def test_a_strategy_shares_out_global_batches(images):
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    dataset = batches(images(10), batch_size=4, size=16, seed=1, epoch=0, classes=3)
    got = [
        strategy.experimental_local_results(index)[0].numpy().tolist()
        for index, *_ in strategy.experimental_distribute_dataset(dataset)
    ]
    assert [len(g) for g in got] == [4, 4, 2]
    assert [i for g in got for i in g] == epoch(images(10))[1]
