"""The report of runs of `localize`: what it shows is what their networks find in the videos."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from launchers import networks, report, report_events
from launchers.features import open_features
from launchers.localizing import LocalizeSettings
from launchers.runs import RunFolder
from ogm_tf.analysis import map_pictures
from tests.input_pipelines import handmade_features
from tests.ogm_tf.analysis.parsed_page import Page


def write_run(path, features_dir, model="agva", modulation="none", supervision="full"):
    """A run that has learned nothing, of two epochs."""
    keras.utils.set_random_seed(len(path.name))
    settings = LocalizeSettings(
        output_dir="o", features_dir=str(features_dir), model=model, size="small",
        supervision=supervision,
    )  # fmt: skip
    network = networks.build_event_model(settings, open_features(str(features_dir)))
    history = {"epoch": [0, 1], "loss": [0.7, 0.6], "accuracy": [0.5, 0.75]}
    for modality in ("audio", "visual"):
        for kind in ("accuracy", "ratio", "coefficient"):
            history[f"{modality}_{kind}"] = [0.5, 0.75]
    run = RunFolder(path)
    with run.locked():
        run.keep_config(
            {
                "features_dir": str(features_dir),
                "background_videos": False,
                "model": model,
                "supervision": supervision,
                "modulation": modulation,
            }
        )
        run.save_best(network)
        run.write_state({"epoch": 2, "best_epoch": 1, "best_score": 0.75})
        run.write_history(history)
        accuracies = {"accuracy": 0.625, "audio_accuracy": 0.5, "visual_accuracy": 0.25}
        run.add_metrics("test", {**accuracies, "event_accuracy": 0.5, "background_accuracy": 0.75})
    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Features and two runs."""
    folder = tmp_path_factory.mktemp("events")
    features_dir = handmade_features.write(folder / "features", num_pictures=2)
    return [
        write_run(folder / "plain", features_dir, "agva", "none"),
        write_run(folder / "balanced", features_dir, "agva", "ogm_ge"),
    ]


def write_page(runs, output_dir, **values):
    settings = report.ReportSettings(
        run_dirs=tuple(str(run.path) for run in runs), output_dir=str(output_dir), **values
    )
    return Page(report.run(settings).read_text("utf-8"))


def test_page_shows_what_the_networks_find(made, tmp_path):
    page = write_page(made, tmp_path, num_examples=3)
    features = open_features(made[0].read_config()["features_dir"])
    texts = [attributes["alt"] for tag, attributes in page.elements if tag == "img"]
    videos = re.findall(r"video (test-\d)", page.words)
    # Those with pictures come first.
    assert sorted(videos[:2]) == ["test-0", "test-1"] and len(set(videos)) == 3
    names = (*handmade_features.CLASSES, "background")
    for run in made:
        model = run.load_best()
        for video_id in videos:
            row = features.video_ids.index(video_id)
            values = features.read(np.array([row]))
            inputs = dict(zip(features.arrays, values, strict=True))
            logits, parts = model.segment_logits(inputs, unimodal=True)
            shown = page.words[page.words.index(f"video {video_id}") :]
            shown = shown[shown.index(f"{run.path.name} ") :]
            for part, own in (("fused", logits), *parts.items()):
                cells = []
                labels = features.labels[row]
                for label, said in zip(labels, tf.nn.softmax(own)[0].numpy(), strict=True):
                    is_right = said.argmax() == label
                    mark = "✓right" if is_right else "✗wrong"
                    cells.append(f"{names[said.argmax()]} {mark}, score {said[label]:.0%}")
                assert f"{part} {' '.join(cells)}" in shown[: shown.index("visual") + 400]
            for number, values in enumerate(model.attention_map(inputs)[0].numpy()):
                text = f"Attention of run {run.path.name} at {number / 2:g} s of video {video_id}"
                (words,) = [words for words in texts if words.startswith(text + ":")]
                assert words.endswith(map_pictures.greatest(values))
    assert sum(words.startswith("Frame at") for words in texts) == 2 * handmade_features.SEGMENTS


def test_chosen_videos_have_frames_then_a_border_then_other_classes():
    class Features:
        labels = np.array([[3, 3], [0, 0], [0, 3], [3, 0], [1, 3], [2, 3]])

    chosen = report_events.choose(
        range(6), Features, lambda row: "frames" if row in (1, 5) else None, 5
    )
    # Of those without frames, the third has an event of the first class shown already.
    assert chosen == [5, 1, 4, 2, 3]
    assert report_events.choose([], Features, lambda row: None, 4) == []


def test_runs_that_cannot_be_compared_are_refused(made, tmp_path):
    features_dir = made[0].read_config()["features_dir"]
    for name, model, supervision in (("psp", "psp", "full"), ("weak", "agva", "weak")):
        other = write_run(tmp_path / name, features_dir, model, supervision=supervision)
        made_by = f"localize --model={model} --supervision={supervision}"
        with pytest.raises(
            ValueError, match=f"Received: .*plain of localize --model=agva .*{made_by}"
        ):
            write_page([made[0], other], tmp_path / "page")
    elsewhere = handmade_features.write(tmp_path / "other", seed=3)
    other = write_run(tmp_path / "run", elsewhere)
    with pytest.raises(
        ValueError, match="the same test videos.* Received: .*plain and .*run, whose"
    ):
        write_page([made[0], other], tmp_path / "page")
    assert not (tmp_path / "page").exists()
