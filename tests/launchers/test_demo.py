"""What the demo does, in what order, and with which runs."""

import pathlib

from launchers import analyze, demo, evaluate, export, prepare, probe_branches, report, train


def test_every_run_is_analysed_and_probed_before_the_report(tmp_path, monkeypatch):
    done = []

    def note(launcher, result=None):
        def run(settings):
            paths = getattr(settings, "run_dirs", None) or (
                getattr(settings, "run_dir", None) or settings.output_dir,
            )
            done.append((launcher.__name__.split(".")[-1], *(pathlib.Path(p).name for p in paths)))
            return result

        monkeypatch.setattr(launcher, "run", run)

    for launcher in (analyze, evaluate, export, prepare, probe_branches, train):
        note(launcher)
    note(report, tmp_path / "index.html")
    monkeypatch.setattr(demo, "_ask", lambda *_: None)
    assert demo.run(demo.DemoSettings(str(tmp_path))) == tmp_path / "index.html"
    methods = ("none", "ogm", "ogm_ge")
    assert done == [
        ("prepare", "records"),
        *(("train", name) for name in methods),
        *(("evaluate", name) for name in methods),
        *((launcher, name) for name in methods for launcher in ("analyze", "probe_branches")),
        ("report", *methods),
        ("export", "ogm_ge"),
    ]
