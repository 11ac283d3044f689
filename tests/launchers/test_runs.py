"""A run folder keeps its settings, its history and its lock."""

import json

import pytest

from launchers.runs import RunFolder


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run")


def test_a_changed_setting_is_named(folder):
    with folder.locked():
        folder.keep_config({"alpha": "wrong"})
        folder.keep_config({"alpha": 0.5, "drops": (1, 2)})
        (folder.checkpoints / "epoch-0000-step-000005").mkdir()
        folder.keep_config({"alpha": 0.5, "drops": (1, 2)})
        with pytest.raises(ValueError, match="Received: alpha was 0.5 and is 0.8; new was None"):
            folder.keep_config({"alpha": 0.8, "drops": (1, 2), "new": 1})
    assert folder.read_config() == {"alpha": 0.5, "drops": [1, 2]}


def test_who_made_a_run_and_of_what_is_in_its_settings(folder):
    configs = {
        "train": {"records_dir": "r"},
        "pretrain": {"records_dir": "r", "model": "avsa"},
        "localize": {"features_dir": "f", "model": "agva"},
    }
    with folder.locked():
        for launcher, config in configs.items():
            folder.keep_config(config)
            assert folder.launcher == launcher
            assert folder.is_of_pairs == (launcher == "pretrain")
            if launcher != "localize":
                assert folder.records_dir == "r"
    with pytest.raises(ValueError, match="learned from records.*Received: .*a run of localize"):
        _ = folder.records_dir


def test_a_folder_in_use_is_refused(folder):
    with folder.locked():
        with pytest.raises(RuntimeError, match="one run at a time"):
            with folder.locked():
                pass
    with folder.locked():
        pass


def test_history_and_metrics_come_back(folder):
    history = {"epoch": [0.0, 1.0], "loss": [0.5, 0.25]}
    with folder.locked():
        folder.write_history(history)
        folder.add_metrics("test", {"accuracy": 0.5})
        folder.add_metrics("validation", {"accuracy": 0.75})
        folder.add_metrics("test", {"accuracy": 1.0})
    assert folder.read_history() == history
    assert json.loads((folder.path / "metrics.json").read_text()) == {
        "test": {"accuracy": 1.0},
        "validation": {"accuracy": 0.75},
    }


def test_an_interrupted_write_leaves_the_old_file(folder):
    with folder.locked():
        folder.write_history({"epoch": [0.0]})
        with pytest.raises(ValueError, match="shorter"):
            folder.write_history({"epoch": [0.0, 1.0], "loss": [1.0]})
    assert folder.read_history() == {"epoch": [0.0]}
    names = {path.name for path in folder.path.iterdir()}
    assert names == {".lock", "checkpoints", "history.csv"}


def test_what_a_killed_run_leaves_is_swept_up_and_damage_is_named(folder):
    with folder.locked():
        (folder.checkpoints / ".best.99999999.keras").write_text("half")
        (folder.path / ".history.99999999.csv").write_text("half")
    with folder.locked():
        assert list(folder.checkpoints.iterdir()) == []
        assert [path.name for path in folder.path.glob(".*")] == [".lock"]
        (folder.path / "config.json").write_text("")
        with pytest.raises(ValueError, match="config.json must be a JSON file of a run. Received"):
            folder.read_config()


def test_no_run_and_no_model(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="must hold config.json.*Received"):
        folder.load_best()
    with folder.locked():
        folder.keep_config({})
    with pytest.raises(FileNotFoundError, match="finished an epoch.*without one"):
        folder.load_best()
