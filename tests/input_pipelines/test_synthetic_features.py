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
    features = synthetic_features.make(SequenceSettings())
    for split in ("validation", "test"):
        assert np.mean(features.labels[features.splits[split]] != 10) == 0.6
    rows = features.splits["train"]
    assert len(rows) == 2090
    labels = features.labels[rows]
    assert np.mean(labels[:1980] != 10) == 0.6 and np.all(labels[1980:] == 10)
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
    seen = np.abs(picture).max(axis=(2, 3, 4)) > 0.01
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


def test_silent_objects_of_the_other_classes_are_there_all_the_time_and_all_move():
    features = make(lone_share=0.0)
    picture = added("visual", lone_share=0.0)
    vectors = {}
    places = collections.Counter()
    for video, labels in zip(picture, features.labels, strict=True):
        strength = np.linalg.norm(video, axis=-1)
        is_event = labels != 3
        # Two silent ones, and the event's own where there is one, at places of their own.
        np.testing.assert_array_equal((strength > 0.01).sum(axis=(1, 2)), 2 + is_event)
        for where in np.argwhere(strength > 0.01):
            places[tuple(where[1:])] += 1
        # What is there only in the event is of its class.
        if 0 < is_event.sum() < 8:
            inside, outside = video[is_event].sum(axis=(1, 2)), video[~is_event].sum(axis=(1, 2))
            np.testing.assert_allclose(outside, outside[[0] * len(outside)], atol=1e-4)
            own = inside[0] - outside[0]
            vectors.setdefault(int(labels.min()), []).append(own / np.linalg.norm(own))
    for found in vectors.values():
        np.testing.assert_allclose(found, [found[0]] * len(found), atol=1e-3)
    assert len(vectors) == 3 and min(places.values()) > 0.7 * max(places.values())


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
