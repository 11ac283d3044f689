"""A command says all settings, and git is asked without ever being in the way."""

import pathlib
import shlex
import shutil
import subprocess

import pytest
from absl import flags

from launchers import provenance, report, report_provenance
from launchers.localizing import LocalizeSettings
from launchers.pretraining import PretrainSettings
from launchers.runs import RunFolder
from launchers.settings import as_flags, define_flags, from_flags
from launchers.training import TrainSettings
from ogm_tf.analysis import pages
from tests.ogm_tf.analysis.parsed_page import Page


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            TrainSettings("my records", "o", modulation="ogm_ge", alpha=1e-05, deterministic=False),
            "'--records_dir=my records' --output_dir=o --modulation=ogm_ge --alpha=1e-05 "
            "--nodeterministic",
        ),
        (
            TrainSettings("r", "o", lr_decay_epochs=()),
            "--records_dir=r --output_dir=o --lr_decay_epochs=",
        ),
        (report.ReportSettings(("a,b", 'c"', "d e")), """'--run_dirs="a,b","c""\",d e'"""),
        (PretrainSettings("r", "o", model="avsa", shift_s=(1.0, 2.9)), None),
        (LocalizeSettings(features_dir="f", output_dir="o", model="psp", supervision="weak"), None),
    ],
)
def test_a_command_parses_back_to_its_settings(settings, expected):
    line = provenance.command("train", settings)
    program, words = shlex.split(line)[:3], shlex.split(line)[3:]
    assert program == ["python", "-m", "launchers.train"] and words == as_flags(settings)
    values = flags.FlagValues()
    define_flags(type(settings), values)
    values(["program", *words])
    assert from_flags(type(settings), values) == settings
    assert expected is None or words == shlex.split(expected)


@pytest.fixture
def repository(tmp_path):
    """A checkout of one commit with the files that are asked for."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    for name in ("ogm_tf", "input_pipelines", "launchers"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "version.py").write_text("")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message=first")
    return tmp_path


def git(folder, *arguments):
    identity = ("-c", "user.name=n", "-c", "user.email=e@e", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", "-C", folder, *identity, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_the_commit_and_whether_the_code_differs_from_it(repository):
    head = git(repository, "rev-parse", "HEAD")
    (repository / "notes.txt").write_text("")
    assert provenance.commit(repository) == (head, False)
    (repository / "ogm_tf" / "version.py").write_text("changed")
    assert provenance.commit(repository) == (head, True)
    git(repository, "checkout", "--quiet", ".")
    (repository / "launchers" / "new.py").write_text("")
    assert provenance.commit(repository) == (head, True)


def test_code_that_git_does_not_know_has_no_commit(repository, tmp_path, monkeypatch):
    installed = repository / ".venv" / "site-packages"
    (installed / "ogm_tf").mkdir(parents=True)
    (installed / "ogm_tf" / "version.py").write_text("")
    assert provenance.commit(installed) == (None, False)
    assert provenance.commit(pathlib.Path(tmp_path.anchor)) == (None, False)
    monkeypatch.setenv("PATH", "")
    assert provenance.commit(repository) == (None, False)


START = {
    "command": "python -m launchers.train '--records_dir=my records' --output_dir=o",
    "folder": "/home/me", "time": "2024-05-06T07:08:09+00:00", "ogm_tf": "0.1.0",
    "commit": "0123456789abcdef", "is_modified": False, "tensorflow": "2.15.1",
    "cores": 2, "gpus": 1, "devices": 1, "epoch": 0, "step": 0,
}  # fmt: skip


def test_page_says_how_runs_and_page_were_made(tmp_path):
    known, unknown = RunFolder(tmp_path / "known"), RunFolder(tmp_path / "unknown")
    with known.locked():
        known.add_start(START | {"time": "2024-01-01T00:00:00+00:00"})
        # Without a checkpoint it begins anew.
        known.add_start(START)
        (known.checkpoints / "epoch-0000-step-000002").mkdir()
        other = {"commit": "fedcba9876543210", "is_modified": True}
        for step, change in ((2, {}), (5, {}), (7, other)):
            time = f"2024-05-06T{step + 3:02}:00:00+00:00"
            known.add_start(START | {"time": time, "step": step} | change)
    assert [start["step"] for start in known.read_starts()] == [0, 2, 5, 7]
    settings = report.ReportSettings((str(known.path), str(unknown.path)))
    section = report_provenance.section([known, unknown], settings)
    page = Page(pages.render("provenance.html", section=section))
    assert section.is_last
    assert (
        "known python -m launchers.train '--records_dir=my records' --output_dir=o In /home/me. "
        "2024-05-06 07:08:09 UTC: ogm_tf 0.1.0 of commit 0123456789ab; TensorFlow 2.15.1; "
        "1 device, 1 GPU, 2 cores. Went on 2 times, at last 2024-05-06 08:00:00 UTC, from epoch 0, "
        "step 5. 2024-05-06 10:00:00 UTC, from epoch 0, step 7: ogm_tf 0.1.0 of commit "
        "fedcba987654, modified; TensorFlow 2.15.1; 1 device, 1 GPU, 2 cores. "
        "unknown Not recorded: the run's folder says nothing of it. "
        f"This page python -m launchers.report {as_flags(settings)[0]} In "
    ) in page.words
