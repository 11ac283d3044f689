"""The built-in videos of events: what happens, and when it is seen, heard and told."""

import collections
import dataclasses
import io

import av
import numpy as np
import pytest

from input_pipelines import event_videos
from input_pipelines.event_plans import EventVideoSettings, draw_plan
from input_pipelines.event_videos import render_clip
from input_pipelines.manifest import read_manifest
from input_pipelines.media.clip import read_clip
from input_pipelines.settings import AudioSettings, ClipSettings, VideoSettings
from input_pipelines.sounding_objects import CLASS_NAMES
from input_pipelines.synthetic import DATASETS, write_dataset

# Five segments of a quarter of a second, two frames each; nothing but objects in the pictures.
SMALL = EventVideoSettings(
    num_classes=5,
    train_clips=15,
    validation_clips=5,
    test_clips=5,
    background_clips=5,
    num_segments=5,
    segment_s=0.25,
    event_segments=(2, 4),
    num_silent=3,
    frame_size=32,
    signal_to_noise_db=60.0,
    clutter=0.0,
    seed=4,
)
DEFAULT = DATASETS["synthetic_events"]


def is_in(intervals, num_segments):
    """Which segments lie in one of the intervals, bool [T]."""
    segments = np.arange(num_segments)
    return sum(
        ((a <= segments) & (segments < b) for a, b in intervals), np.zeros(num_segments, bool)
    )


def plans(settings, split):
    """Of the videos with an event."""
    count = getattr(settings, f"{split}_clips")
    return [draw_plan(settings, split, index) for index in range(count)]


def test_naming_the_event_everywhere_is_right_in_three_fifths_of_every_split():
    for split, times in (("train", 72), ("validation", 5), ("test", 8)):
        found = plans(DEFAULT, split)
        lengths = [plan.event[1] - plan.event[0] for plan in found]
        assert sum(lengths) / (10 * len(found)) == 0.6
        counts = collections.Counter(zip((plan.label for plan in found), lengths, strict=True))
        classes = CLASS_NAMES[:6]
        assert counts == {(label, n): times for label in classes for n in range(4, 9)}
        # Not all at the same time.
        assert {plan.event[0] for plan in found} == set(range(7))


def test_neither_modality_alone_tells_when_the_event_is():
    kinds = collections.Counter()
    for plan in plans(DEFAULT, "train"):
        heard = {label: is_in(own, 10) for label, own in plan.heard.items()}
        seen = {label: is_in([own], 10) for label, own in plan.seen.items()}
        event = is_in([plan.event], 10)
        np.testing.assert_array_equal(heard[plan.label] & seen[plan.label], event)
        (other,) = heard.keys() - {plan.label}
        # What else is heard is never seen, and not heard at the same time.
        assert other not in seen and len(seen) == 3
        assert not (heard[other] & heard[plan.label]).any()
        kinds["heard"] += (heard[plan.label] & ~event).sum()
        kinds["seen"] += (seen[plan.label] & ~event).sum()
        kinds["other"] += (heard[other] & ~event).sum()
        silent = [own for label, own in seen.items() if label != plan.label]
        kinds["silent"] += np.sum(silent) / 2
        kinds["own"] += seen[plan.label].sum()
    # Shares of the background: with the event's sound, its object, or another sound.
    background = 0.4 * 10 * DEFAULT.train_clips
    assert 0.3 < kinds["heard"] / background < 0.45
    assert 0.3 < kinds["seen"] / background < 0.45
    assert 0.2 < kinds["other"] / background < 0.45
    # Silent objects are there as much as the one that sounds.
    assert kinds["silent"] == pytest.approx(kinds["own"], rel=0.03)


def test_without_an_event_nothing_is_heard_and_seen_at_once():
    assert [DEFAULT.num_clips(name) for name in ("train", "validation", "test")] == [2520, 150, 240]
    found = [draw_plan(DEFAULT, "train", index) for index in range(2160, 2520)]
    orders = collections.Counter()
    for plan in found:
        assert plan.event is None and len(plan.seen) == 3
        seen = {label: is_in([own], 10) for label, own in plan.seen.items()}
        heard = {label: is_in(own, 10) for label, own in plan.heard.items()}
        assert seen[plan.label].any() and heard[plan.label].any()
        for label, own in heard.items():
            assert not (own & seen.get(label, False)).any()
        orders[np.argmax(heard[plan.label]) < np.argmax(seen[plan.label])] += 1
    # As often heard first as seen first; every class; and the others are heard and seen as well.
    assert 140 < orders[True] < 220
    assert collections.Counter(plan.label for plan in found) == dict.fromkeys(CLASS_NAMES[:6], 60)
    assert sum(len(own) for plan in found for own in list(plan.heard.values())[1:]) > 180
    assert render_clip(SMALL, "train", 15).event_s is None


def test_a_video_depends_on_seed_split_and_index_alone():
    video, again = (render_clip(SMALL, "train", 7) for _ in range(2))
    np.testing.assert_array_equal(video.frames, again.frames)
    np.testing.assert_array_equal(video.waveform, again.waveform)
    assert video[2:] == again[2:] and video.label == CLASS_NAMES[7 % 5]
    assert video.frames.shape == (10, 32, 32, 3) and video.frames.dtype == np.uint8
    assert video.waveform.shape == (20_000,) and video.waveform.dtype == np.float32
    assert 0.1 < np.abs(video.waveform).max() <= 0.91
    for other in (
        render_clip(SMALL, "train", 2),
        render_clip(SMALL, "validation", 2),
        render_clip(dataclasses.replace(SMALL, seed=5), "train", 7),
    ):
        assert np.abs(video.frames.astype(int) - other.frames).mean() > 2
        assert abs(np.corrcoef(video.waveform, other.waveform)[0, 1]) < 0.5


def test_clutter_leaves_the_sound_and_noise_the_picture():
    one = render_clip(SMALL, "test", 1)
    cluttered = render_clip(dataclasses.replace(SMALL, clutter=0.5), "test", 1)
    noisy = render_clip(dataclasses.replace(SMALL, signal_to_noise_db=0.0), "test", 1)
    np.testing.assert_array_equal(one.waveform, cluttered.waveform)
    np.testing.assert_array_equal(one.frames, noisy.frames)
    assert not np.array_equal(one.waveform, noisy.waveform)
    assert np.abs(one.frames.astype(int) - cluttered.frames).mean() > 2


@pytest.mark.parametrize("index", range(5))
def test_each_object_is_seen_at_a_place_of_its_own_in_its_segments(index):
    plan, frames = draw_plan(SMALL, "train", index), render_clip(SMALL, "train", index).frames
    # The ground is one colour.
    ground = frames.reshape(-1, 3)[np.argmax(np.bincount(_codes(frames)[0]))]
    differs = np.abs(frames.astype(int) - ground).max(-1) > 8
    places = [differs[:, a : a + 16, b : b + 16].sum((1, 2)) for a in (0, 16) for b in (0, 16)]
    assert max(place.max() for place in places) < 130
    assert sorted(plan.places.values()) == [0, 1, 2, 3]
    for label, interval in plan.seen.items():
        found = places[plan.places[label]] > 10
        np.testing.assert_array_equal(found, np.repeat(is_in([interval], 5), 2))


def _codes(frames):
    """Each pixel's colour as a number that stands for it alone."""
    return np.unique(frames.reshape(-1, 3), axis=0, return_inverse=True)[1].reshape(1, -1)


def _decode(jpeg):
    with av.open(io.BytesIO(jpeg)) as image:
        return next(image.decode(video=0)).to_ndarray(format="rgb24")


def test_files_decode_to_what_the_manifest_says(tmp_path):
    """Of an object alone: bright frames are those it is seen in, loud segments those with sound."""
    settings = dataclasses.replace(
        SMALL, num_classes=2, train_clips=6, validation_clips=2, test_clips=2, background_clips=2,
        num_silent=0,
    )  # fmt: skip
    manifest = write_dataset(tmp_path / "data", settings, num_workers=1, progress=False)
    clips = read_manifest(manifest).clips
    assert len(clips) == 12
    # One frame of each segment, from its middle.
    wanted = ClipSettings(
        window_s=0.25,
        audio=AudioSettings(sample_rate_hz=16_000),
        video=VideoSettings(frames_per_second=4.0),
    )
    num_checked = 0
    for clip in clips:
        split, index = clip.clip_id.split("-")
        plan = draw_plan(settings, split, int(index))
        assert clip.label == plan.label
        event_s = clip.event_start_s, clip.event_end_s
        expected = (None, None)
        if plan.event is not None:
            expected = plan.event[0] * 0.25, plan.event[1] * 0.25
        assert event_s == expected
        decoded = read_clip(clip, wanted)
        assert decoded.duration_s == pytest.approx(1.25, abs=0.01) and not decoded.problems
        assert decoded.visual.timestamps_us == [125_000 + 250_000 * n for n in range(5)]
        frames = np.stack([_decode(jpeg) for jpeg in decoded.visual.encoded])
        deviation = frames.astype(float).std(axis=(1, 2)).max(-1)
        seen = deviation > 0.3 * deviation.max()
        np.testing.assert_array_equal(seen, is_in([plan.seen[plan.label]], 5))
        # Without what the codec smears over a border.
        sound = np.resize(decoded.waveform / 32768, (5, 4000))[:, 400:-400]
        loudness = np.sqrt(np.mean(sound**2, axis=1))
        (other,) = (own for label, own in plan.heard.items() if label != plan.label)
        heard = loudness > 0.03
        np.testing.assert_array_equal(heard, is_in([*plan.heard[plan.label], *other], 5))
        if not other:
            event = [] if plan.event is None else [plan.event]
            np.testing.assert_array_equal(heard & seen, is_in(event, 5))
            num_checked += 1
    assert num_checked >= 3
    before = manifest.stat().st_mtime_ns
    assert write_dataset(tmp_path / "data", settings, progress=False) == manifest
    assert manifest.stat().st_mtime_ns == before
    with pytest.raises(ValueError, match=r"Received: event_segments=\[2, 3\], there \[2, 4\]"):
        write_dataset(tmp_path / "data", dataclasses.replace(settings, event_segments=(2, 3)))


def test_the_other_sound_is_that_of_an_unseen_class():
    """Two videos that differ in nothing but whether it is heard."""
    settings = dataclasses.replace(SMALL, num_silent=0)
    heard = {"disc": [(2, 5)]}
    key = (0, 0, 0)
    alone = event_videos._draw_waveform(settings, key, {**heard, "square": []})
    both = event_videos._draw_waveform(settings, key, {**heard, "square": [(0, 2)]})
    scale = np.linalg.lstsq(both[8_200:, None], alone[8_200:], rcond=None)[0]
    added = both * scale - alone
    assert np.abs(added[8_200:]).max() < 1e-3
    assert np.abs(added[:7_800]).max() > 0.1 > 10 * np.abs(alone[:7_800]).max()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_silent", 4),
        ("num_classes", 4),
        ("num_classes", 9),
        ("test_clips", 4),
        ("background_clips", -1),
        ("num_segments", 1),
        ("segment_s", 0.05),
        ("event_segments", (0, 3)),
        ("event_segments", (2, 6)),
        ("event_segments", (3, 2)),
        ("frame_size", 34),
        ("frame_rate", 0),
        ("sample_rate_hz", 15_000),
        ("signal_to_noise_db", float("inf")),
        ("clutter", 1.5),
        ("seed", -1),
    ],
)
def test_settings_out_of_range_are_named(name, value):
    with pytest.raises(ValueError) as error:
        dataclasses.replace(SMALL, **{name: value})
    assert f"`{name}` must be" in str(error.value)
    assert f"Received: {name}={value!r}" in str(error.value)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="`duration_s` must be .* Received: duration_s=100"):
        dataclasses.replace(SMALL, segment_s=10.0, num_segments=10)
    with pytest.raises(ValueError, match="Received: split='dev'"):
        render_clip(SMALL, "dev", 0)
    with pytest.raises(ValueError, match="Received: index=20"):
        draw_plan(SMALL, "train", 20)
