"""What `localize` takes by default, and what it refuses before a folder is made."""

import dataclasses

import h5py
import numpy as np
import pytest
import tensorflow as tf
from absl import flags

from launchers import features, localize, networks, timelines
from launchers.localizing import LocalizeSettings
from launchers.settings import as_flags, define_flags, from_flags
from launchers.timelines import Timelines
from tests.input_pipelines import handmade_features


def settings(features_dir="f", output_dir="o", model="agva", **values):
    return LocalizeSettings(
        output_dir=str(output_dir), features_dir=str(features_dir), model=model, **values
    )


@pytest.mark.parametrize(
    ("model", "values", "expected"),
    [
        ("agva", {}, ("soft_margin", None, 300, 64, 1e-3, (288,), 0.1)),
        ("dmrn", {"supervision": "weak"}, ("soft_margin", "tag", 250, 64, 1e-3, (288,), 0.1)),
        ("psp", {}, ("cross_entropy", None, 300, 128, 1e-3, (60, 120), 0.8)),
        (
            "psp",
            {"supervision": "weak"},
            ("binary_cross_entropy", "proportions", 300, 128, 1e-3, (80, 160), 0.8),
        ),
        ("psp", {"size": "small"}, ("cross_entropy", None, 16, 64, 4e-3, (9, 13), 0.2)),
        (
            "psp",
            {"supervision": "weak", "weak_target": "tag", "loss": "soft_margin", "epochs": 7},
            ("soft_margin", "tag", 7, 128, 1e-3, (80, 160), 0.8),
        ),
        ("agva", {"lr_decay_epochs": (5,)}, ("soft_margin", None, 300, 64, 1e-3, (5,), 0.1)),
    ],
)
def test_defaults_are_the_published_ones(model, values, expected):
    found = settings(model=model, **values)
    assert found.optimizer == "adam"
    assert expected == (
        found.loss,
        found.weak_target,
        found.epochs,
        found.batch_size,
        found.learning_rate,
        found.lr_decay_epochs,
        found.lr_decay_rate,
    )


def test_a_list_that_is_empty_is_no_list_that_is_not_given():
    given = ["program", "--features_dir=f", "--output_dir=o", "--model=psp"]
    for flag, expected in (([], (60, 120)), (["--lr_decay_epochs="], ())):
        values = flags.FlagValues()
        define_flags(LocalizeSettings, values)
        values([*given, *flag])
        found = from_flags(LocalizeSettings, values)
        assert found.lr_decay_epochs == expected
        assert found.learning_rate_at(299) == pytest.approx(1e-3 * 0.8 ** len(expected))
        assert ("--lr_decay_epochs=" in as_flags(found)) == bool(flag)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weak_target": "tag"}, "--weak_target needs --supervision=weak. Received: weak_target"),
        (
            {"supervision": "weak", "event_only": True},
            "--event_only needs --supervision=full. Received: event_only=True",
        ),
        ({"pair_weight": 0.0}, "--pair_weight needs --model=psp .*Received: pair_weight=0.0"),
        (
            {"model": "dmrn", "score_mode": "masked"},
            "--score_mode must be one of zero, zero_pre with --model=dmrn. Received: .*'masked'",
        ),
        (
            {"modulation": "ogm", "modulation_variables": "conv"},
            "--modulation_variables must be kernels or all.*Received: modulation_variables='conv'",
        ),
        ({"model": "avsa"}, "--model must be one of agva, dmrn, psp. Received: model='avsa'"),
    ],
)
def test_combinations_that_mean_nothing_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        settings(**values)


@pytest.mark.parametrize(
    ("written", "values", "message"),
    [
        ({}, {"batch_size": 19}, "--batch_size must be at most the 18 videos.*Received: batch_s"),
        ({"splits": {"test": 3}}, {}, "must have a train split. Received: .*videos {'test': 3}"),
        (
            {"shapes": {"audio": (4, 3, 5), "visual": (4, 2, 2, 6)}},
            {},
            r"must be audio \[T, D\] and visual \[T, h, w, C\]. Received: .*\(4, 3, 5\)",
        ),
        ({"shapes": {"audio": (4, 5)}}, {}, r"must be audio \[T, D\] and .*Received: "),
        ({}, {"background_videos": True}, "needs AVE's published files. Received: features_dir="),
    ],
)
def test_features_that_do_not_fit_are_refused(tmp_path, written, values, message):
    folder = handmade_features.write(tmp_path / "features", **written)
    with pytest.raises(ValueError, match=message):
        localize.run(settings(folder, tmp_path / "run", **{"batch_size": 4, **values}))
    assert not (tmp_path / "run").exists()


def test_a_class_called_background_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(handmade_features, "CLASSES", ("bell", "background"))
    folder = handmade_features.write(tmp_path / "features")
    with pytest.raises(ValueError, match="No event may be called background.*Received: "):
        localize.run(settings(folder, tmp_path / "run", batch_size=4))


def write_ave(folder):
    folder.mkdir()
    lines = [f"Bark&{number:011}&good&{number}&{number + 3}" for number in range(5)]
    (folder / "Annotations.txt").write_text("\n".join(lines) + "\n")
    arrays = {"audio_feature": (5, 10, 4), "visual_feature": (5, 10, 2, 2, 6)}
    orders = {"train_order": [4, 0, 2], "val_order": [1], "test_order": [3]}
    for name, shape in arrays.items():
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file["avadataset"] = np.ones(shape, np.float32)
    for name, rows in orders.items():
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file["order"] = np.array(rows)
    return str(folder)


def test_both_kinds_of_folders_are_told_apart(tmp_path):
    ave = write_ave(tmp_path / "ave")
    own = str(handmade_features.write(tmp_path / "own", num_pictures=1))
    assert features.open_features(ave).class_names == ("Bark",)
    assert features.open_features(own).class_names == handmade_features.CLASSES
    assert features.segment_seconds(ave) == 1.0 and features.segment_seconds(own) == 0.5
    first = int(features.open_features(own).splits["test"][0])
    assert features.read_picture(ave, 3) is None and features.read_picture(own, first)
    assert features.read_picture(own, first + 1) is None
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="--features_dir must be .*Received: .*empty'"):
        localize.run(settings(tmp_path / "empty", tmp_path / "run"))
    with pytest.raises(ValueError, match="on this machine. Received: features_dir='gs://b/f'"):
        localize.run(settings("gs://b/f", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_the_network_is_that_of_the_features_and_settings(tmp_path):
    found = features.open_features(str(handmade_features.write(tmp_path / "features")))
    values = {"size": "small", "modulation": "ogm", "pair_weight": 0.5, "owner": "skip"}
    model = networks.build_event_model(settings(model="psp", event_only=True, **values), found)
    assert (model.audio_shape, model.visual_shape, model.num_classes) == ((4, 5), (4, 2, 3, 6), 4)
    assert (model.pair_weight, model.owner, model.event_only) == (0.5, "skip", True)
    # As far from an even share of four segments as the published one is of ten.
    assert model.threshold == pytest.approx(0.99 / 4)
    assert model.optimizer.epsilon == 1e-8
    weak = settings(model="psp", size="small", supervision="weak")
    assert networks.build_event_model(weak, found).threshold == pytest.approx(0.95 / 4)


def test_timelines_by_hand(tmp_path):
    found = features.open_features(str(handmade_features.write(tmp_path / "features")))
    labels = np.array([[0, 0, 3, 3], [3, 2, 2, 3]])
    fused, audio = np.full((2, 2, 4, 4), 0.1)
    for own, answers in ((fused, [[0, 1, 3, 0], [3, 2, 2, 2]]), (audio, [[3] * 4] * 2)):
        np.put_along_axis(own, np.array(answers)[..., np.newaxis], 0.7, axis=-1)
    answers = Timelines(np.array([20, 18]), labels, {"": fused, "audio": audio})
    assert answers.metrics() == {
        "accuracy": 5 / 8,
        "audio_accuracy": 0.5,
        "event_accuracy": 0.75,
        "background_accuracy": 0.5,
        "all_event_accuracy": 0.5,
    }
    header, rows = answers.table(found, 0.1)
    rows = list(rows)
    assert header[:4] == ["video_id", "segment", "start_s", "label"] and len(rows) == 8
    assert rows[3] == ["validation-2", 3, 0.3, "background", "bell", 0.7, "background", 0.7]
    assert rows[5] == ["validation-0", 1, 0.1, "car", "car", 0.7, "background", 0.7]


def test_answers_that_are_not_finite_are_no_class(tmp_path):
    found = features.open_features(str(handmade_features.write(tmp_path / "features")))

    class Diverged:
        def segment_logits(self, inputs, unimodal):
            logits = tf.zeros([len(inputs["audio"]), 4, 4])
            sound = tf.concat([logits[:2], logits[2:] + np.nan], axis=0)
            return logits, {"audio": sound, "visual": logits}

    with pytest.raises(
        ValueError, match=r"Received: 3 of 7 .*validation .*\(audio\).*'validation-2'"
    ):
        timelines.predict(Diverged(), found, "validation", 5)


@pytest.mark.parametrize(
    "changed",
    [
        lambda found: {"class_names": ("bell", "cat", "car")},
        lambda found: {"video_ids": (*found.video_ids[:-1], "other")},
        lambda found: {"labels": np.roll(found.labels, 1, axis=1)},
        lambda found: {"splits": {**found.splits, "test": found.splits["test"][::-1]}},
        lambda found: {"arrays": {**found.arrays, "audio": found.arrays["audio"] + 1e-3}},
    ],
)
def test_other_features_have_another_fingerprint(tmp_path, changed):
    handmade_features.write(tmp_path / "features")
    found = features.open_features(str(tmp_path / "features"))
    other = dataclasses.replace(found, **changed(found))
    assert features.fingerprint(found) == features.fingerprint(dataclasses.replace(found))
    assert features.fingerprint(other) != features.fingerprint(found)
