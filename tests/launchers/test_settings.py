"""Flags are made from settings, and both are checked by the same words."""

import dataclasses
import pathlib
import re
import subprocess
import sys

import pytest
from absl import flags

from input_pipelines.settings import VideoSettings
from launchers import (
    demo,
    evaluate,
    export,
    inspect,
    localizing,
    measure,
    predict,
    prepare,
    probe,
    probe_branches,
    references,
    report,
)
from launchers.extracting import ExtractSettings
from launchers.localizing import LocalizeSettings
from launchers.pretraining import PretrainSettings
from launchers.settings import (
    LauncherSettings,
    define_flags,
    from_flagfile,
    from_flags,
    positive,
    setting,
)
from launchers.sweeping import SweepSettings
from launchers.training import TrainSettings
from ogm_tf.representation import avca, avsa, l3_net

NETWORKS = {"l3net": l3_net, "avsa": avsa, "avca": avca}
PRESETS = pathlib.Path(demo.__file__).parent / "presets"
ALL = [
    demo.DemoSettings,
    evaluate.EvaluateSettings,
    export.ExportSettings,
    inspect.InspectSettings,
    measure.MeasureSettings,
    predict.PredictSettings,
    prepare.PrepareSettings,
    report.ReportSettings,
    PretrainSettings,
    probe.ProbeSettings,
    SweepSettings,
    probe_branches.ProbeBranchesSettings,
    references.ReferencesSettings,
    TrainSettings,
]


def parse(settings_class, *arguments):
    values = flags.FlagValues()
    define_flags(settings_class, values)
    values(["program", *arguments])
    return from_flags(settings_class, values)


@dataclasses.dataclass(frozen=True)
class Sample(LauncherSettings):
    path: str = setting(dataclasses.MISSING, "Where.")
    count: int | None = positive(None, "How many.")
    rates: tuple[float, ...] = setting((0.5,), "Which.")
    quick: bool = setting(True, "How.")
    colour: str = setting("red", "What.", choices=("red", "blue"))


def test_every_kind_of_flag():
    assert parse(Sample, "--path=x") == Sample("x")
    arguments = ["--path=x", "--count=3", "--rates=1,2.5", "--noquick", "--colour=blue"]
    assert parse(Sample, *arguments) == Sample("x", 3, (1.0, 2.5), False, "blue")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--path=x", "--count=0"], "--count must be > 0. Received: count=0."),
        (["--path=x", "--colour=green"], "one of red, blue. Received: colour='green'"),
        (["--path=x", "--rates=1,two"], "list of numbers with commas. Received: rates=1,two"),
    ],
)
def test_rules(arguments, message):
    with pytest.raises(ValueError, match=message):
        parse(Sample, *arguments)


def test_missing_and_unknown_flags():
    with pytest.raises(flags.IllegalFlagValueError, match="--path must have a value"):
        parse(Sample)
    with pytest.raises(flags.UnrecognizedFlagError, match="count"):
        parse(Sample, "--path=x", "--counts=3")


@pytest.mark.parametrize("settings_class", ALL)
def test_launchers_describe_every_flag(settings_class):
    values = flags.FlagValues()
    define_flags(settings_class, values)
    for field in dataclasses.fields(settings_class):
        assert values[field.name].help.endswith(".")


def test_help_lists_the_flags_of_a_launcher():
    # absl leaves out flags that are defined in another file than the program's.
    done = subprocess.run(
        [sys.executable, "-m", "launchers.export", "--help"],
        cwd=PRESETS.parents[1],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode in (0, 1)
    assert export.__doc__.splitlines()[0] in done.stdout
    for field in dataclasses.fields(export.ExportSettings):
        name = f"[no]{field.name}" if field.type is bool else field.name
        assert f"--{name}: {field.metadata['help']}" in " ".join(done.stdout.split())


PREPARED = (prepare.PrepareSettings, "--manifest=m")
TRAINED = (TrainSettings, "--records_dir=r")
PRETRAINED = (PretrainSettings, "--records_dir=r")
LOCALIZED = (LocalizeSettings, "--features_dir=f")
EXTRACTED = (ExtractSettings, "--records_dir=r", "--audio_encoder=a", "--visual_encoder=v")


def programs(preset):
    """What a preset is for: settings and the arguments they need besides it."""
    given = dict(re.findall(r"^--(\w+)=(.*)$", preset.read_text(), re.MULTILINE))
    if "model" in given:
        return [LOCALIZED] if given["model"] in localizing.MODELS else [PREPARED, PRETRAINED]
    if "segments" not in given:
        return [PREPARED, TRAINED]
    return [PREPARED, EXTRACTED, *([TRAINED] if "encoder" in given else [])]


@pytest.mark.parametrize("preset", sorted(PRESETS.glob("*.flags")), ids=lambda path: path.stem)
def test_presets_serve_their_programs(preset):
    parsed = [
        parse(settings, f"--flagfile={preset}", *arguments, "--output_dir=o")
        for settings, *arguments in programs(preset)
    ]
    named = {
        line.lstrip("-").split("=")[0].removeprefix("no")
        for line in preset.read_text().splitlines()
        if line.startswith("--") and not line.startswith("--undefok")
    }
    known = {f.name for s in parsed for f in dataclasses.fields(s)}
    assert named <= known
    ignored = preset.read_text().split("--undefok=")[1].split("\n")[0].split(",")
    assert {name.removeprefix("no") for name in ignored} == named


def test_from_a_flagfile_with_overrides():
    values = from_flagfile(TrainSettings, demo.PRESET, records_dir="r", output_dir="o", epochs=3)
    assert (values.encoder, values.epochs, values.records_dir) == ("small_cnn", 3, "r")


def test_how_pictures_are_normalised_and_brightened():
    arguments = ["--manifest=m", "--output_dir=o"]
    video = parse(prepare.PrepareSettings, *arguments).clip_settings().video
    assert video == VideoSettings()
    arguments += ["--frame_mean=0.5,0.5,0.5", "--frame_deviation=0.5,0.25,1"]
    arguments += ["--brightness_jitter=0.125"]
    video = parse(prepare.PrepareSettings, *arguments).clip_settings().video
    assert video.mean == (0.5, 0.5, 0.5) and video.deviation == (0.5, 0.25, 1.0)
    assert video.brightness_jitter == 0.125
    with pytest.raises(ValueError, match="three finite numbers. Received: frame_mean"):
        parse(prepare.PrepareSettings, *arguments, "--frame_mean=0.5,0.5")
    with pytest.raises(ValueError, match="three numbers > 0. Received: frame_deviation"):
        parse(prepare.PrepareSettings, *arguments, "--frame_deviation=1,1,0")


def test_rules_between_flags():
    with pytest.raises(ValueError, match="Exactly one of --manifest and --dataset"):
        prepare.PrepareSettings(output_dir="o")
    with pytest.raises(ValueError, match="--whole_files must .* Received: dataset='synthetic'"):
        prepare.PrepareSettings("o", dataset="synthetic", data_dir="d", whole_files=True)
    with pytest.raises(ValueError, match="--data_dir must .*'synthetic', data_dir=None"):
        prepare.PrepareSettings(output_dir="o", dataset="synthetic")
    with pytest.raises(ValueError, match="--data_dir must .*dataset=None, data_dir='d'"):
        prepare.PrepareSettings(output_dir="o", manifest="m", data_dir="d")
    with pytest.raises(ValueError, match="--dataset_fold must .*Received: dataset_fold=2"):
        prepare.PrepareSettings(output_dir="o", manifest="m", dataset_fold=2)
    with pytest.raises(ValueError, match="need --runner=beam. Received: --region=x"):
        prepare.PrepareSettings(output_dir="o", manifest="m", beam_options=("--region=x",))
    with pytest.raises(ValueError, match="must not lie before.*Received: 2 and 5"):
        TrainSettings("r", "o", modulation_start_epoch=5, modulation_end_epoch=2)
    with pytest.raises(ValueError, match="at least one run. Received: none"):
        report.ReportSettings()


def test_learning_rate_drops():
    settings = TrainSettings("r", "o", learning_rate=0.1, lr_decay_epochs=(2, 4), lr_decay_rate=0.5)
    assert [settings.learning_rate_at(epoch) for epoch in range(6)] == pytest.approx(
        [0.1, 0.1, 0.05, 0.05, 0.025, 0.025]
    )


@pytest.mark.parametrize(
    ("model", "optimizer", "learning_rate", "clip_norm"),
    [("l3net", "adam", 1e-4, None), ("avsa", "sgd", 1e-2, 5.0), ("avca", "adam", 1e-3, None)],
)
def test_each_pair_network_has_its_own_optimizer(model, optimizer, learning_rate, clip_norm):
    own = PretrainSettings("r", "o", model=model)
    assert (own.optimizer, own.learning_rate, own.clip_norm) == (
        optimizer, learning_rate, clip_norm,
    )  # fmt: skip
    given = PretrainSettings("r", "o", model=model, optimizer="lion", clip_norm=2.0)
    assert (given.optimizer, given.learning_rate, given.clip_norm) == ("lion", learning_rate, 2.0)


@pytest.mark.parametrize(
    ("model", "encoders"), [("avsa", "audio and in that of visual"), ("avca", "visual")]
)
def test_encoders_without_kernels_of_pictures_are_named(model, encoders):
    conv = {"model": model, "modulation_variables": "conv"}
    message = f"no kernel of pictures in its encoder of {encoders}. Received: .*'conv'"
    with pytest.raises(ValueError, match=message):
        PretrainSettings("r", "o", modulation="ogm", **conv)
    # Nothing asks for them, or there are some.
    PretrainSettings("r", "o", **conv)
    PretrainSettings("r", "o", **conv | {"model": "l3net"}, modulation="ogm")


@pytest.mark.parametrize("shift_s", [(2.0,), (0.0, 1.0), (3.0, 2.0), (1.0, float("inf"))])
def test_shifts_of_pairs(shift_s):
    with pytest.raises(ValueError, match="--shift_s must be two numbers.* Received: shift_s="):
        PretrainSettings("r", "o", model="avsa", shift_s=shift_s)


@pytest.mark.parametrize(
    "preset",
    [path for path in sorted(PRESETS.glob("*.flags")) if PRETRAINED in programs(path)],
    ids=lambda path: path.stem,
)
def test_presets_of_pairs_prepare_what_their_network_takes(preset):
    """The shapes that the papers name for the full sizes, and the specification for the small."""
    arguments = [f"--flagfile={preset}", "--manifest=m", "--output_dir=o"]
    shapes = parse(prepare.PrepareSettings, *arguments).clip_settings().shapes
    settings = parse(PretrainSettings, f"--flagfile={preset}", "--records_dir=r", "--output_dir=o")
    sizes = NETWORKS[settings.model].PRESETS[settings.size]
    audio, visual = tuple(sizes["audio_shape"]), tuple(sizes["visual_shape"])
    # A mono waveform goes into both channels, a clip of one frame is a frame.
    assert shapes["audio"] == (audio if len(audio) == 3 else (audio[0], 1))
    assert shapes["visual"] == (visual if len(visual) == 4 else (1, *visual))
