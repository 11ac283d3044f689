import collections
import dataclasses

import numpy as np
import pytest

from input_pipelines import synthetic_features
from input_pipelines.synthetic_features import SequenceSettings

# Three classes of events of 1 to 5 of 8 segments: 15 videos are all there are.
SMALL = SequenceSettings(
    num_classes=3,
    train_videos=45,
    validation_videos=15,
    test_videos=30,
    background_videos=5,
    num_segments=8,
    event_segments=(1, 5),
    lone_share=0.5,
    audio_size=6,
    visual_shape=(3, 2, 7),
    num_distractors=2,
)


def make(**changes):
    return synthetic_features.make(dataclasses.replace(SMALL, **changes))


def read(features, modality):
    return features.read(np.arange(len(features.labels)))[list(features.arrays).index(modality)]


def added(modality, **changes):
    """What strengths add to the features: all else of a video is drawn without regard to them."""
    name = f"{modality}_strength"
    there, without = (read(make(**{**changes, name: value}), modality) for value in (1.0, 0.0))
    return there - without


def test_the_same_settings_give_the_same_bits_and_a_seed_others():
    for modality, shape in (("audio", (95, 8, 6)), ("visual", (95, 8, 3, 2, 7))):
        one, again, other = (make(seed=seed) for seed in (0, 0, 1))
        values = read(one, modality)
        assert values.shape == shape and values.dtype == np.float32
        np.testing.assert_array_equal(values, read(again, modality))
        # Any order of reading, too.
        np.testing.assert_array_equal(again.arrays[modality][3], values[3])
        assert not np.isclose(values, read(other, modality)).any(axis=(1, 2)).all()
        # No two videos share their noise.
        assert len({video.tobytes() for video in values}) == 95


def test_strength_of_one_modality_leaves_the_other_and_the_labels_alone():
    one, other = make(), make(audio_strength=1.0)
    np.testing.assert_array_equal(read(one, "visual"), read(other, "visual"))
    assert not np.array_equal(read(one, "audio"), read(other, "audio"))
    np.testing.assert_array_equal(one.labels, other.labels)


def test_by_default_naming_the_event_everywhere_is_right_in_three_fifths():
    settings = SequenceSettings()
    features = synthetic_features.make(settings)
    for split in ("validation", "test"):
        assert np.mean(features.labels[features.splits[split]] != 10) == 0.6
    rows = features.splits["train"]
    with_event = settings.train_videos
    labels = features.labels[rows]
    assert len(rows) == with_event + settings.background_videos
    assert np.mean(labels[:with_event] != 10) == 0.6 and np.all(labels[with_event:] == 10)
    assert features.shapes == {"audio": (10, 32), "visual": (10, 4, 4, 64)}


def test_each_class_has_each_length_equally_often():
    features = make()
    assert features.class_names == ("event 1", "event 2", "event 3")
    for split, times in (("train", 3), ("validation", 1), ("test", 2)):
        counts = collections.Counter()
        labels = features.labels[features.splits[split]]
        starts, order = set(), []
        for video in labels[: len(labels) - 5 * (split == "train")]:
            (where,) = np.nonzero(video != 3)
            assert len(set(video[where])) == 1 and where[-1] - where[0] == len(where) - 1
            counts[int(video[where[0]]), len(where)] += 1
            starts.add(int(where[0]))
            order.append(int(video[where[0]]))
        assert counts == {(label, n): times for label in range(3) for n in range(1, 6)}
        # Not all at the same time, and not one class after the other.
        assert len(starts) > 4 and order[:15] != [0, 1, 2] * 5
    assert features.video_ids[:2] == ("train-00000", "train-00001")
    assert features.video_ids[-1] == "test-00029"


def test_an_event_is_where_it_is_both_heard_and_seen():
    features = make(num_distractors=0)
    sound, picture = added("audio", num_distractors=0), added("visual", num_distractors=0)
    heard = np.abs(sound).max(axis=-1) > 0.01
    # Spread over six places, an object of strength 1.25 has 0.21 at each.
    seen = np.linalg.norm(picture, axis=-1).max(axis=(2, 3)) > 0.5
    is_event = features.labels != 3
    np.testing.assert_array_equal(heard & seen, is_event)
    # Of 760 segments 284 hold an event; in about a quarter of the others there is but the sound.
    for alone in (heard & ~seen, seen & ~heard):
        assert 0.2 < alone.sum() / (~is_event).sum() < 0.3


@pytest.mark.parametrize(("audio_size", "largest_cosine"), [(6, 0.9), (16, 1e-3)])
def test_a_class_has_one_vector_whose_length_is_the_strength(audio_size, largest_cosine):
    labels = make().labels
    sound = added("audio", audio_size=audio_size)
    lengths = np.linalg.norm(sound, axis=-1)
    is_event = labels != 3
    assert lengths[is_event].min() > 0.79 and lengths[is_event].max() < 1.26
    vectors = sound[is_event] / lengths[is_event][:, np.newaxis]
    own = [vectors[labels[is_event] == label] for label in range(3)]
    for found in own:
        np.testing.assert_allclose(found, np.broadcast_to(found[0], found.shape), atol=1e-4)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        # Three classes and eight grounds have room for right angles in 16 numbers.
        assert abs(own[one][0] @ own[other][0]) < largest_cosine


def test_silent_objects_come_and_go_as_the_events_does_and_all_move():
    changes = {"num_segments": 20, "event_segments": (4, 12), "lone_share": 0.1}
    # At right angles, so that each object has its own length along the vector of its class.
    changes["visual_shape"] = (3, 2, 16)
    features, picture = make(**changes), added("visual", **changes)
    vectors, _ = synthetic_features._vectors(0, synthetic_features._VISUAL, 3, 16)
    is_there = picture @ vectors.T > 0.5
    # Each at one place, and no two at the same.
    assert is_there.sum(axis=(2, 3)).max() == 1 and is_there.sum(axis=-1).max() == 1
    is_seen = is_there.any(axis=(2, 3))
    is_event = features.labels != 3
    own = np.where(is_event.any(axis=1), features.labels.min(axis=1), -1)
    for kind in range(3):
        assert is_seen[own == kind, :, kind][is_event[own == kind]].all()
        for other in range(3):
            # Of stretches of 8 on average, and of a twentieth of the others.
            assert is_seen[own == kind, :, other].mean() == pytest.approx(0.43, abs=0.08)
    places = collections.Counter(tuple(where[2:4]) for where in np.argwhere(is_there))
    assert len(places) == 6 and min(places.values()) > 0.7 * max(places.values())


def test_an_object_that_is_not_seen_is_spread_over_the_map_so_that_its_mean_is_the_same():
    picture = added("visual")
    means = picture.mean(axis=(2, 3))
    np.testing.assert_allclose(means, np.broadcast_to(means[:, :1], means.shape), atol=1e-5)
    np.testing.assert_allclose(
        np.linalg.norm(added("visual", num_distractors=0).mean(axis=(2, 3)), axis=-1) * 6,
        1.0, atol=0.26,
    )  # fmt: skip


def test_who_looks_everywhere_alike_does_not_find_the_event():
    settings = SequenceSettings()
    features = synthetic_features.make(settings)
    rows = features.splits["test"][:270]
    sounds, maps = features.read(rows)
    labels = features.labels[rows]
    heard, seen = (
        synthetic_features._vectors(0, modality, 10, size)[0]
        for modality, size in ((synthetic_features._AUDIO, 32), (synthetic_features._VISUAL, 64))
    )
    loudness = sounds @ heard.T
    kinds = loudness.argmax(axis=-1)
    is_heard = loudness.max(axis=-1) > 4

    def accuracy(evidence):
        """Of naming what is heard where its class has evidence in the picture, at its best."""
        own = np.take_along_axis(evidence, kinds[..., np.newaxis], axis=-1)[..., 0]
        return max(
            np.mean(np.where(is_heard & (own > least), kinds, 10) == labels)
            for least in np.quantile(own, np.linspace(0, 1, 101))
        )

    assert np.mean(np.where(is_heard, kinds, 10) == labels) < 0.85
    assert accuracy(maps.mean(axis=(2, 3)) @ seen.T) < 0.85
    assert accuracy((maps @ seen.T).max(axis=(2, 3))) > 0.97


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": 1}, "`num_classes` must be >= 2. Received: num_classes=1"),
        ({"test_videos": 2}, "`test_videos` must be >= num_classes=3. Received: test_videos=2"),
        ({"background_videos": -1}, "`background_videos` must be >= 0. Received"),
        ({"num_segments": 1}, "Received: num_segments=1"),
        ({"event_segments": (3, 9)}, "from 1 to num_segments=8. Received: event_segments=.3, 9."),
        ({"event_segments": (4, 3)}, "Received: event_segments=.4, 3."),
        ({"lone_share": 1.1}, "Received: lone_share=1.1"),
        ({"audio_size": 0}, "Received: audio_size=0"),
        ({"visual_shape": (3, 7)}, "Received: visual_shape=.3, 7."),
        ({"num_distractors": 3}, r"in \[0, 3\). Received: num_distractors=3"),
        ({"visual_shape": (1, 1, 7), "num_distractors": 1}, r"in \[0, 1\). Received"),
        ({"visual_strength": float("nan")}, "finite and >= 0. Received: visual_strength=nan"),
        ({"seed": -1}, "Received: seed=-1"),
    ],
)
def test_wrong_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **changes)
