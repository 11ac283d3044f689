"""Published datasets end to end: their folders with small real media, their presets, a run."""

import dataclasses
import pathlib

import numpy as np
import pytest

from input_pipelines import dataset
from input_pipelines.index import read_index
from launchers import demo, prepare, train
from launchers.settings import from_flagfile
from launchers.training import TrainSettings
from tests.input_pipelines.datasets.imitations import write
from tests.input_pipelines.media_files import tone, write_image, write_video, write_wav

PRESETS = pathlib.Path(demo.__file__).parent / "presets"
SMALL = {"frame_height": 24, "frame_width": 24, "num_workers": 0, "clips_per_shard": 4}


def _prepare(name, data_dir, output_dir, **values):
    settings = from_flagfile(
        prepare.PrepareSettings, PRESETS / f"{name}.flags", dataset=name, manifest=None,
        data_dir=str(data_dir), output_dir=str(output_dir), **SMALL | values,
    )  # fmt: skip
    prepare.run(settings)
    return read_index(output_dir)


def _train(name, records_dir, output_dir):
    return train.run(
        from_flagfile(
            TrainSettings, PRESETS / f"{name}.flags", records_dir=str(records_dir),
            output_dir=str(output_dir), modulation="ogm_ge", encoder="small_cnn", encoder_width=2,
            epochs=1, batch_size=4,
        )
    )  # fmt: skip


def test_crema_d_trains_on_flash_video_and_wave_sound(tmp_path):
    data = tmp_path / "CREMA-D"
    lists = {"train": [], "test": []}
    for number in range(8):
        emotion = ("NEU", "ANG")[number % 2]
        name = f"10{number:02d}_DFA_{emotion}_XX"
        for folder in ("VideoFlash", "AudioWAV"):
            (data / folder).mkdir(parents=True, exist_ok=True)
        write_video(data / f"VideoFlash/{name}.flv", [90 + number] * 30, codec="flv1")
        write_wav(data / f"AudioWAV/{name}.wav", tone(1.2))
        lists["test" if number >= 6 else "train"].append(f"{name},{emotion}\r\n")
    write(data, "train.csv", "\ufeff" + "".join(lists["train"]) + "1091_WSI_SAD_XX,SAD\r\n")
    write(data, "test.csv", "".join(lists["test"]))
    index = _prepare(
        "crema_d", data, tmp_path / "records", validation_fraction=0.0, max_bad_fraction=0.2
    )
    assert index.class_names == ("NEU", "HAP", "SAD", "FEA", "DIS", "ANG")
    assert [split.num_clips for split in index.splits.values()] == [6, 2]
    assert [skip["clip_id"] for skip in index.skipped] == ["1091_WSI_SAD_XX"]
    assert index.settings.shapes["audio"] == (257, 188, 1)
    metrics = _train("crema_d", tmp_path / "records", tmp_path / "run")
    assert set(metrics["test"]) >= {"accuracy", "audio_accuracy", "visual_accuracy"}


@pytest.mark.slow
def test_ucf101_trains_on_pictures_and_flow(tmp_path):
    data = tmp_path / "UCF"
    write(data, "ucfTrainTestlist/classInd.txt", "1 Archery\n2 Bowling\n")
    names = [f"{label}/v_{label}_g0{i}_c01.avi" for label in ("Archery", "Bowling")
             for i in range(3)]  # fmt: skip
    train_rows = [f"{name} {1 + names.index(name) // 3}\n" for name in names if "_g02" not in name]
    write(data, "ucfTrainTestlist/trainlist01.txt", "".join(train_rows))
    write(data, "ucfTrainTestlist/testlist01.txt", "".join(f"{n}\n" for n in names if "_g02" in n))
    for number, name in enumerate(names):
        path = data / "UCF-101" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, [60 + 20 * number] * 25, codec="mpeg4")
        for axis, level in (("u", 100 + number), ("v", 140)):
            folder = data / "tvl1_flow" / axis / path.stem
            folder.mkdir(parents=True)
            for frame in range(24):
                write_image(folder / f"frame{frame + 1:06d}.jpg", level)
    index = _prepare("ucf101", data, tmp_path / "records")
    assert index.settings.modalities == ("visual", "flow") and not index.skipped
    inputs, labels, _ = next(iter(dataset.eval_dataset(tmp_path / "records", "test", 2).dataset))
    assert {name: value.shape[1:] for name, value in inputs.items()} == index.settings.shapes
    # The clip of the second class is the sixth.
    flow = np.mean(inputs["flow"][int(np.argmax(labels))], axis=(0, 1, 2)) * 255
    np.testing.assert_allclose(flow, [105, 140], atol=2)
    metrics = _train("ucf101", tmp_path / "records", tmp_path / "run")
    assert set(metrics["test"]) >= {"visual_accuracy", "flow_accuracy"}


def test_sound_alone_is_prepared_and_refused_by_training(tmp_path):
    data = tmp_path / "ESC-50"
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    (data / "audio").mkdir(parents=True)
    for fold in (1, 2):
        for target, category in ((3, "cow"), (1, "rooster")):
            name = f"{fold}-1000{target}-A-{target}.wav"
            write_wav(data / "audio" / name, tone(1.0, 300.0 * target))
            rows.append(f"{name},{fold},{target},{category},False,1000{target},A")
    write(data, "meta/esc50.csv", "\r\n".join(rows))
    index = _prepare("esc50", data, tmp_path / "records", dataset_fold=2)
    assert index.class_names == ("rooster", "cow")
    assert {name: split.num_clips for name, split in index.splits.items()} == {
        "train": 2, "test": 2,
    }  # fmt: skip
    settings = TrainSettings(str(tmp_path / "records"), str(tmp_path / "run"), batch_size=2)
    with pytest.raises(ValueError, match=r"at least two modalities .*Received: .* of audio,"):
        train.run(dataclasses.replace(settings, epochs=1))
