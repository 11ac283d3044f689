import dataclasses

import pytest

from input_pipelines import listing
from input_pipelines.listing import Clip, Listing

LABELS = ("label0", "label1", "label2")


def _clips(number, split="train"):
    return [
        Clip(f"clip{index}", split, f"label{index % 3}", f"/{index}") for index in range(number)
    ]


def test_hold_out_is_by_the_name_alone():
    clips = _clips(1000) + [Clip("t", "test", "label0", "/t")]
    held = {c.clip_id for c in listing.hold_out_validation(clips, 0.1) if c.split == "validation"}
    assert 70 < len(held) < 130
    # 8 digits of the hash are enough to place it.
    for clip_id in ("clip0", "clip7", "clip8"):
        share = int(listing.clip_hash(clip_id)[:8], 16) / 2**32
        assert (clip_id in held) == (share < 0.1)
    fewer = listing.hold_out_validation(clips[:500], 0.1)
    assert {c.clip_id for c in fewer if c.split == "validation"} == held & {
        f"clip{index}" for index in range(500)
    }
    more = listing.hold_out_validation(clips, 0.3)
    assert held < {c.clip_id for c in more if c.split == "validation"}


def test_hold_out_leaves_a_validation_split_alone_and_takes_at_least_one():
    clips = [*_clips(20), Clip("v", "validation", "label0", "/v")]
    assert listing.hold_out_validation(clips, 0.5) == clips
    assert listing.hold_out_validation(clips[:20], 0.0) == clips[:20]
    few = listing.hold_out_validation(clips[:20], 1e-9)
    assert sum(clip.split == "validation" for clip in few) == 1
    for fraction in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="Received: fraction="):
            listing.hold_out_validation(clips, fraction)


def test_clips_of_one_group_are_held_out_together():
    clips = [
        Clip(f"clip{index}", "train", f"label{index % 2}", f"/{index}", group=f"take{index // 4}")
        for index in range(400)
    ]
    held = {c.clip_id for c in listing.hold_out_validation(clips, 0.2) if c.split == "validation"}
    groups = [{clip.clip_id for clip in clips[first : first + 4]} for first in range(0, 400, 4)]
    assert 10 < sum(group <= held for group in groups) < 30
    assert all(group <= held or not group & held for group in groups)


def test_hold_out_leaves_something_of_every_class():
    clips = [
        *_clips(300),
        Clip("rare1", "train", "rare", "/r1"),
        Clip("rare2", "train", "rare", "/r2"),
    ]
    left = {c.label for c in listing.hold_out_validation(clips, 0.99) if c.split == "train"}
    assert left == {"label0", "label1", "label2", "rare"}
    alone = [Clip(f"c{index}", "train", f"label{index}", f"/{index}") for index in range(3)]
    assert listing.hold_out_validation(alone, 0.5) == alone


def test_check_splits():
    clips = _clips(6)
    listing.check_splits(clips, LABELS)
    unknown = [
        Clip("t", "test", "zebra", "/t"),
        Clip("u", "test", "cow", "/u"),
        Clip("v", "test", "label0", "/v"),
    ]
    with pytest.raises(ValueError, match=r"split='test', labels=\['cow', 'zebra'\]"):
        listing.check_splits(clips + unknown, LABELS)
    with pytest.raises(ValueError, match=r"train split must not be empty. Received: \{'test': 3\}"):
        listing.check_splits(unknown, LABELS)
    with pytest.raises(ValueError, match=r"split='train', labels=\['label2'\]"):
        listing.check_splits(clips, LABELS[:2])
    assert listing.sorted_labels(clips) == LABELS


def test_the_fingerprint_follows_the_clips_and_not_their_folder():
    def fingerprint(root, **values):
        clips = (Clip("a", "train", "x", f"{root}/a.mp4"), Clip("b", "test", "x", f"{root}/b.mp4"))
        return dataclasses.replace(Listing(root, clips), **values).fingerprint()

    assert fingerprint("/data") == fingerprint("gs://bucket/data")
    others = [
        fingerprint("/data", clips=()),
        fingerprint("/data", class_names=("x", "y")),
        fingerprint("/data", missing=({"clip_id": "c", "split": "test", "reason": "gone"},)),
    ]
    assert len({fingerprint("/data"), *others}) == 4
    # As it was before there were events: finished records stay finished.
    assert fingerprint("/data").startswith("8fd07d47237045b4")
    clip = Clip("a", "train", "x", "/data/a.mp4", event_start_s=1.0, event_end_s=2.0)
    assert fingerprint("/data", clips=(clip,)) != fingerprint(
        "/data", clips=(dataclasses.replace(clip, event_end_s=3.0),)
    )


def test_whole_files_are_clips_of_their_first_rows():
    first = Clip("a1", "train", "x", "/a.mp4", start_s=0.5, end_s=1.0, group="g")
    clips = (
        first,
        Clip("b", "test", "x", "/b.mp4"),
        Clip("a2", "train", "y", "/a.mp4", start_s=1.0),
        Clip("a3", "train", "y", "/a.mp4", audio_path="/other.wav"),
    )
    found = listing.whole_files(Listing("/", clips, class_names=("x", "y")))
    assert found.clips == (dataclasses.replace(first, start_s=None, end_s=None), clips[1], clips[3])
    assert found.class_names == ("x", "y")


def test_the_event_of_a_whole_file_is_where_its_clip_was_unless_it_is_given():
    clips = (
        Clip("a", "train", "x", "/a.mp4", start_s=0.5, end_s=1.0),
        Clip("b", "train", "x", "/b.mp4", end_s=1.0),
        Clip("c", "train", "x", "/c.mp4", start_s=0.5),
        Clip("d", "train", "x", "/d.mp4", start_s=0.5, end_s=2.0, event_start_s=1, event_end_s=3),
    )
    found = listing.whole_files(Listing("/", clips)).clips
    assert [(clip.start_s, clip.end_s) for clip in found] == [(None, None)] * 4
    assert [(clip.event_start_s, clip.event_end_s) for clip in found] == [
        (0.5, 1.0), (0.0, 1.0), (None, None), (1, 3),
    ]  # fmt: skip
