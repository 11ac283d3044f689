import h5py
import numpy as np
import pytest

from input_pipelines import ave_features, feature_sequences

# Six videos; the third has no event, and the last is the first one's with another event.
LINES = """\
Bark&aaaaaaaaaaa&good&0&10
Church bell&bbbbbbbbbbb&good&2&5
Bark&ccccccccccc&good&0&0
Clock&ddddddddddd&good&9&10
Bark&eeeeeeeeeee&good&0&1
Clock&aaaaaaaaaaa&good&3&10
"""
ORDERS = {"train": [4, 0, 2], "val": [5], "test": [1, 3]}


def write(folder, name, values, key="avadataset"):
    with h5py.File(folder / name, "w") as file:
        file.create_dataset(key, data=values)


def numbered(num_videos, *shape, dtype="f8"):
    """Features whose every number is that of the video."""
    return np.broadcast_to(
        np.arange(num_videos).reshape(-1, *[1] * len(shape)), (num_videos, *shape)
    ).astype(dtype)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "Annotations.txt").write_text(
        "Category&VideoID&Quality&StartTime&EndTime\n" + LINES
    )
    write(tmp_path, "audio_feature.h5", numbered(6, 10, 3, dtype="f4"))
    write(tmp_path, "visual_feature.h5", numbered(6, 10, 2, 2, 5))
    for split, rows in ORDERS.items():
        write(tmp_path, f"{split}_order.h5", np.array(rows), key="order")
    write(tmp_path, "audio_feature_noisy.h5", 100 + numbered(2, 10, 3))
    write(tmp_path, "visual_feature_noisy.h5", 100 + numbered(2, 10, 2, 2, 5))
    return tmp_path


def test_labels_are_rebuilt_from_the_annotations(folder):
    features = ave_features.open_features(folder)
    assert features.class_names == ("Bark", "Church bell", "Clock")
    assert features.num_classes == 4 and features.background == 3
    np.testing.assert_array_equal(
        features.labels,
        [
            [0] * 10,
            [3, 3, 1, 1, 1, 3, 3, 3, 3, 3],
            [3] * 10,
            [3, 3, 3, 3, 3, 3, 3, 3, 3, 2],
            [0, 3, 3, 3, 3, 3, 3, 3, 3, 3],
            [3, 3, 3, 2, 2, 2, 2, 2, 2, 2],
        ],
    )
    assert features.labels.dtype == np.int32
    assert features.video_ids[0] == "aaaaaaaaaaa" and features.video_ids[5] == "aaaaaaaaaaa-2"
    assert features.shapes == {"audio": (10, 3), "visual": (10, 2, 2, 5)}
    splits = {split: rows.tolist() for split, rows in features.splits.items()}
    assert splits == {"train": [4, 0, 2], "validation": [5], "test": [1, 3]}


def test_elements_hold_the_features_of_their_rows(folder):
    features = ave_features.open_features(folder)
    ((inputs, labels, weight),) = feature_sequences.eval_dataset(features, "test", 3).dataset
    expected = np.array([1, 3, 0], np.float32)
    assert inputs["audio"].dtype == inputs["visual"].dtype == np.float32
    np.testing.assert_array_equal(inputs["audio"], np.tile(expected[:, None, None], (1, 10, 3)))
    np.testing.assert_array_equal(inputs["visual"][:, 9, 1, 1, 4], expected)
    np.testing.assert_array_equal(labels[:2], features.labels[[1, 3]])
    np.testing.assert_array_equal(weight, [1, 1, 0])
    inputs, labels = next(iter(feature_sequences.train_dataset(features, 3, 0).dataset))
    assert sorted(inputs["audio"][:, 0, 0].numpy()) == [0, 2, 4]
    np.testing.assert_array_equal(inputs["audio"][:, 0, 0], inputs["visual"][:, 0, 0, 0, 0])
    np.testing.assert_array_equal(
        labels, features.labels[inputs["audio"][:, 0, 0].numpy().astype(int)]
    )


def test_videos_without_an_event_join_the_training_split(folder):
    features = ave_features.open_features(folder, background_videos=True)
    assert features.splits["train"].tolist() == [4, 0, 2, 6, 7]
    assert features.video_ids[6:] == ("background-1", "background-2")
    np.testing.assert_array_equal(features.labels[6:], np.full((2, 10), 3))
    inputs, labels = next(iter(feature_sequences.train_dataset(features, 5, 0).dataset))
    assert sorted(inputs["visual"][:, 0, 0, 0, 0].numpy()) == [0, 2, 4, 100, 101]
    np.testing.assert_array_equal(labels.numpy()[inputs["audio"][:, 0, 0] >= 100], 3)


def test_files_of_full_size_are_read_row_by_row(folder, monkeypatch):
    # 4,143 videos as published, of which 3 take room on the disk.
    shapes = {"audio": (4143, 10, 128), "visual": (4143, 10, 7, 7, 512)}
    for name, shape in shapes.items():
        with h5py.File(folder / f"{name}_feature.h5", "w") as file:
            data = file.create_dataset("avadataset", shape, "f8", chunks=(1, *shape[1:]))
            for row in (0, 2, 4):
                data[row] = row + 0.5
    (folder / "Annotations.txt").write_text(LINES + "Clock&x&good&1&2\n" * 4137)
    num_read = []
    read = h5py.Dataset.__getitem__

    def counted(dataset, *arguments):
        values = read(dataset, *arguments)
        if dataset.name == "/avadataset":
            num_read.append(values.size)
        return values

    monkeypatch.setattr(h5py.Dataset, "__getitem__", counted)
    features = ave_features.open_features(folder)
    assert features.shapes["visual"] == (10, 7, 7, 512)
    assert not num_read
    data = feature_sequences.train_dataset(features, 3, 0)
    for inputs, _ in data.dataset.take(2):
        assert inputs["visual"].shape == (3, 10, 7, 7, 512)
        assert sorted(inputs["visual"][:, 9, 6, 6, 511].numpy()) == [0.5, 2.5, 4.5]
    # A video at a time.
    assert set(num_read) == {10 * 128, 10 * 7 * 7 * 512}


def test_what_else_says_where_the_events_are_must_agree(folder):
    features = ave_features.open_features(folder)
    closs = (features.labels != 3).astype(np.float32)
    write(folder, "labels_closs.h5", closs)
    # The class of the third video is known, although nothing is heard.
    classes = np.eye(4, dtype=np.float32)[[0, 1, 0, 2, 0, 2]]
    write(folder, "mil_labels.h5", classes)
    ave_features.open_features(folder)
    write(folder, "mil_labels.h5", classes[[0, 1, 3, 2, 4, 5]])
    with pytest.raises(ValueError, match="2 rows that differ, the first .* row 2, .*line 4"):
        ave_features.open_features(folder)
    write(folder, "mil_labels.h5", classes[:, :3])
    with pytest.raises(ValueError, match=r"of shape \(6, 4\).*Received: shape \(6, 3\)"):
        ave_features.open_features(folder)
    (folder / "mil_labels.h5").unlink()
    write(folder, "labels_closs.h5", np.roll(closs, 1, axis=1))
    with pytest.raises(ValueError, match="labels_closs.h5 and .*Received: 4 rows.*row 1, .*line 3"):
        ave_features.open_features(folder)


def test_the_class_of_every_second_must_agree_but_for_corrections(folder, caplog):
    labels = ave_features.open_features(folder).labels
    one_hot = np.eye(4)[labels]
    write(folder, "labels.h5", one_hot)
    write(folder, "right_labels.h5", one_hot)
    with caplog.at_level("WARNING"):
        ave_features.open_features(folder)
    assert not caplog.records
    # A second of the second video and all of the last one's are of another class.
    one_hot[1, 4], one_hot[5] = np.eye(4)[0], np.eye(4)[1]
    write(folder, "right_labels.h5", one_hot)
    with caplog.at_level("WARNING"):
        features = ave_features.open_features(folder)
    assert "right_labels.h5 differs from Annotations.txt, " in caplog.text
    assert "in 2 of 6 rows; it is not used" in caplog.text
    np.testing.assert_array_equal(features.labels, labels)
    write(folder, "labels.h5", one_hot)
    with pytest.raises(ValueError, match="labels.h5 and .*Received: 2 rows .*row 1, .*line 3"):
        ave_features.open_features(folder)
    write(folder, "labels.h5", one_hot[..., :3])
    with pytest.raises(ValueError, match=r"labels.h5 .*\(6, 10, 4\).*Received: shape \(6, 10, 3"):
        ave_features.open_features(folder)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("audio_feature.h5", np.zeros((5, 10, 3)), r"audio_feature.h5 of shape \(5, .*6 lines"),
        ("visual_feature.h5", np.zeros((6, 9, 2, 2, 5)), r"as many seconds. .*\(6, 9, 2, 2, 5\)"),
        ("visual_feature.h5", np.zeros((6, 10, 4, 5)), r"h, w, D\]. Received: .*\(6, 10, 4, 5\)"),
        ("visual_feature.h5", np.zeros((6, 10, 2, 2, 5), int), "Received: .*int64"),
        ("audio_feature.h5", np.zeros((6, 10, 0)), r"audio_feature.h5 of shape \(6, 10, 0\)"),
        ("audio_feature_noisy.h5", np.zeros((3, 10, 3)), r"audio_feature_noisy.h5': \(3, 10, 3\)"),
        ("visual_feature_noisy.h5", np.zeros((2, 10, 2, 2, 4)), r"Received: shape \(2, .*, 4\)"),
    ],
)
def test_features_that_do_not_fit_are_refused(folder, name, values, message):
    write(folder, name, values)
    with pytest.raises(ValueError, match=message):
        ave_features.open_features(folder, background_videos=True)


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("val_order.h5", [5, 6], r"in \[0, 6\).*Received: val_order.h5 with 1 others, such as 6"),
        ("val_order.h5", [-1], "such as -1"),
        ("val_order.h5", [5, 1], "such as 1 in val_order.h5, test_order.h5"),
        ("val_order.h5", [5, 5], "Received: 1 rows more often, such as 5 in val_.*, val_order.h5"),
        ("test_order.h5", [0.5], r"Received: test_order.h5 of shape \(1,\), float64"),
        ("test_order.h5", [[1, 3]], r"Received: test_order.h5 of shape \(1, 2\)"),
    ],
)
def test_orders_that_do_not_fit_are_refused(folder, name, rows, message):
    write(folder, name, np.array(rows), key="order")
    with pytest.raises(ValueError, match=message):
        ave_features.open_features(folder)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Clock&aaaaaaaaaaa&good&3", "Received: Annotations.txt, line 6: 'Clock&aaa"),
        ("Clock&aaaaaaaaaaa&good&3&9.5", "in whole seconds. .*9.5"),
        ("Clock&aaaaaaaaaaa&good&3&11", "end <= 10.*line 6: start=3, end=11"),
        ("Clock&aaaaaaaaaaa&good&4&3", "line 6: start=4, end=3"),
    ],
)
def test_lines_that_name_no_event_are_refused(folder, line, message):
    lines = LINES.splitlines()
    (folder / "Annotations.txt").write_text("\n".join([*lines[:5], line]))
    with pytest.raises(ValueError, match=message):
        ave_features.open_features(folder)


def test_missing_and_broken_files_are_named(folder):
    write(folder, "test_order.h5", np.arange(2))
    with pytest.raises(ValueError, match=r"'order'. Received: test_order.h5 with \['avadataset'\]"):
        ave_features.open_features(folder)
    (folder / "test_order.h5").write_bytes((folder / "val_order.h5").read_bytes()[:500])
    with pytest.raises(ValueError, match="whole HDF5 file .* Received: test_order.h5"):
        ave_features.open_features(folder)
    (folder / "audio_feature.h5").unlink()
    (folder / "visual_feature_noisy.h5").unlink()
    with pytest.raises(FileNotFoundError, match=r"without audio_feature.h5\.$"):
        ave_features.open_features(folder)
    with pytest.raises(FileNotFoundError, match="without audio_feature.h5, visual_feature_noisy"):
        ave_features.open_features(folder, background_videos=True)
    (folder / "Annotations.txt").write_text("Category&VideoID&Quality&StartTime&EndTime\n")
    with pytest.raises(ValueError, match="Received: Annotations.txt without a line"):
        ave_features.read_events(folder)
    with pytest.raises(ValueError, match="Received: data_dir='gs://bucket/ave'"):
        ave_features.open_features("gs://bucket/ave")


def test_videos_of_no_order_and_slow_chunks_are_warned_of(folder, caplog):
    write(folder, "val_order.h5", np.array([], int), key="order")
    with h5py.File(folder / "visual_feature.h5", "w") as file:
        file.create_dataset("avadataset", data=numbered(6, 10, 2, 2, 5), chunks=(3, 1, 1, 1, 5))
    with caplog.at_level("WARNING"):
        ave_features.open_features(folder)
    assert "1 of 6 videos are in none of train_order.h5" in caplog.text
    assert "visual_feature.h5 is stored in chunks of 3 videos" in caplog.text
