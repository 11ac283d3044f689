"""The benchmark of steps, on a small network: every turn is taken, of the same features."""

import json

import h5py
import numpy as np
import pytest

from benchmarks import localization_step
from input_pipelines import ave_features, feature_folder


@pytest.mark.slow
def test_steps_and_reading_take_turns_from_folder_and_ave_s_files(tmp_path, capsys):
    settings = localization_step.LocalizationStepSettings(
        str(tmp_path), models=("agva",), size="small", batch_size=4, steps=1, rounds=1
    )
    localization_step.run(settings)
    found = json.loads((tmp_path / "localization_step.json").read_text())
    titles = [
        "agva, plain", "agva, OGM-GE", "agva, OGM-GE, from disk", "reading alone, from disk",
        "agva, OGM-GE, from AVE's files", "reading alone, from AVE's files",
    ]  # fmt: skip
    assert list(found["ms a video"]) == titles
    assert all(len(own) == 1 and own[0] > 0 for own in found["ms a video"].values())
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]] == titles
    # Ten segments of 32 numbers and of maps of 4 x 4 x 64.
    numbers = 10 * (32 + 4 * 4 * 64)
    assert found["bytes of a video"] == {"disk": 4 * numbers, "AVE's files": 8 * numbers}

    own = feature_folder.open_folder(tmp_path / "features_small_4_1")
    ave = ave_features.open_features(tmp_path / "ave_features_small_4_1")
    for name, array in ave.arrays.items():
        assert isinstance(array, h5py.Dataset) and array.dtype == np.float64
        # One video after the other, as published.
        assert array.chunks is None
        np.testing.assert_array_equal(array, own.arrays[name])
    assert ave.splits.keys() == own.splits.keys()
    for split, rows in own.splits.items():
        np.testing.assert_array_equal(ave.splits[split], rows)
    # Classes have other numbers, events are the same.
    names = [np.array([*features.class_names, ""]) for features in (own, ave)]
    np.testing.assert_array_equal(names[0][own.labels], names[1][ave.labels])
