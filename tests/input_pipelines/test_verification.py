import dataclasses

import pytest
import tensorflow as tf

from input_pipelines import preparation
from input_pipelines.index import read_index, write_index
from input_pipelines.settings import ClipSettings, VideoSettings
from input_pipelines.verification import verify
from tests.input_pipelines.media_files import tone, write_video

SHARD = "train-00000-of-00001.tfrecord"


@pytest.fixture
def folder(tmp_path):
    """Records of three clips of one class."""
    rows = ["clip_id,split,label,path"]
    for index, split in enumerate(("train", "train", "test")):
        write_video(tmp_path / f"{index}.mp4", [80 + 20 * index] * 6, tone(0.24), codec="mpeg4")
        rows.append(f"c{index},{split},x,{index}.mp4")
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    settings = ClipSettings(window_s=0.2, video=VideoSettings(frames_per_second=10))
    output = tmp_path / "records"
    preparation.prepare(tmp_path / "manifest.csv", output, settings, num_workers=0, progress=False)
    return output


def test_whole_records_are_whole(folder):
    assert verify(folder, progress=False) == read_index(folder)


def test_one_changed_bit_is_found(folder):
    data = bytearray((folder / SHARD).read_bytes())
    for position in (4, 20, len(data) // 2, len(data) - 2):
        spoiled = bytearray(data)
        spoiled[position] ^= 4
        (folder / SHARD).write_bytes(spoiled)
        with pytest.raises(ValueError, match=f"Received: .*{SHARD}: record [01] cannot be read"):
            verify(folder, progress=False)


def test_other_and_missing_records_are_found(folder):
    examples = list(tf.data.TFRecordDataset(str(folder / SHARD)).as_numpy_iterator())

    def write(records):
        with tf.io.TFRecordWriter(str(folder / SHARD)) as writer:
            for record in records:
                writer.write(record)

    write(examples[:1])
    with pytest.raises(ValueError, match="1 records, the index says 2"):
        verify(folder, progress=False)
    write(examples[::-1])
    with pytest.raises(ValueError, match="other bytes than were written"):
        verify(folder, progress=False)
    write([examples[0], b"\x08"])
    with pytest.raises(ValueError, match="record 1 cannot be read"):
        verify(folder, progress=False)
    write([examples[0], tf.train.SequenceExample().SerializeToString()])
    with pytest.raises(ValueError, match="record 1 cannot be read"):
        verify(folder, progress=False)
    (folder / SHARD).unlink()
    with pytest.raises(ValueError, match=f"{SHARD}: is missing"):
        verify(folder, progress=False)


def test_the_places_of_records_are_compared(folder):
    index = read_index(folder)
    (shard,) = index.splits["train"].shards
    first, second = map(int, shard.record_sizes.split())
    spoiled = dataclasses.replace(shard, record_sizes=f"{first - 1} {second + 1}")
    split = dataclasses.replace(index.splits["train"], shards=(spoiled,))
    write_index(folder, dataclasses.replace(index, splits=index.splits | {"train": split}))
    with pytest.raises(
        ValueError, match=f"{SHARD}: records of .* bytes, the index says '{first - 1} "
    ):
        verify(folder, progress=False)


def test_counts_of_classes_are_compared(folder):
    index = read_index(folder)
    split = dataclasses.replace(index.splits["train"], class_counts={"x": 1, "y": 1})
    write_index(folder, dataclasses.replace(index, splits=index.splits | {"train": split}))
    with pytest.raises(ValueError, match=r"train: \{'x': 2\} clips of the classes"):
        verify(folder, progress=False)
