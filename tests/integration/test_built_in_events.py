"""The small networks of events find the built-in sequences' events, told of segments or videos."""

import pathlib

import pytest

import launchers
from launchers import extract, localize
from launchers.extracting import ExtractSettings
from launchers.localizing import LocalizeSettings
from launchers.settings import from_flagfile

PRESETS = pathlib.Path(launchers.__file__).parent / "presets"


@pytest.fixture(scope="module")
def features_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "features"
    extract.run(ExtractSettings(str(folder), dataset="synthetic_sequences", dataset_seed=100))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("supervision", "least"), [("full", 0.95), ("weak", 0.7)])
@pytest.mark.parametrize("model", ["agva", "dmrn", "psp"])
def test_every_small_network_finds_the_events(features_dir, tmp_path, model, supervision, least):
    settings = from_flagfile(
        LocalizeSettings,
        PRESETS / f"synthetic_{model}.flags",
        model=model,
        features_dir=str(features_dir),
        output_dir=str(tmp_path / "run"),
        supervision=supervision,
        modulation="none",
        seed=100,
    )
    found = localize.run(settings)["test"]
    assert found["all_event_accuracy"] == pytest.approx(0.6)
    assert found["accuracy"] >= least
