"""Measures mean and standard deviation of the inputs over the train split.

  python -m launchers.measure --records_dir=records/mine

They are written into the records' index: records made with --audio_normalization=dataset or
--frame_normalization=dataset are normalised by them. A second run changes nothing, but
replaces what was measured over fewer clips (--limit_clips).
"""

import dataclasses

from input_pipelines import statistics
from input_pipelines.index import Index
from launchers.settings import LauncherSettings, launch, not_negative, setting


@dataclasses.dataclass(frozen=True)
class MeasureSettings(LauncherSettings):
    """Settings of `measure`."""

    records_dir: str = setting(dataclasses.MISSING, "Folder that `prepare` wrote.")
    limit_clips: int = not_negative(0, "Clips to measure, of all shards alike; 0: all.")


def run(settings: MeasureSettings) -> Index:
    """Measures, prints the numbers and returns the records' index."""
    index, is_changed = statistics.measure(settings.records_dir, limit_clips=settings.limit_clips)
    print(describe(index))
    if not index.statistics:
        print("These records have neither sound nor pictures: there is nothing to measure.")
    elif not is_changed:
        print("They were measured before, over as many clips or more, and stay as they are.")
    return index


def describe(index: Index) -> str:
    """Returns a table of what was measured, and what makes use of it."""
    lines = []
    if index.statistics:
        lines.append(f"{'input':<16}{'mean':>14}{'deviation':>14}{'clips':>10}")
    for name, found in index.statistics.items():
        channels = ("",) if name == "audio" else (" red", " green", " blue")
        for channel, mean, deviation in zip(channels, found.mean, found.deviation, strict=True):
            numbers = f"{mean:>14.7g}{deviation:>14.7g}{found.num_clips:>10}"
            lines.append(f"{name + channel:<16}{numbers}")
    for name, found in index.statistics.items():
        is_sound = name == "audio"
        own = index.settings.audio if is_sound else index.settings.video
        flag = "audio_normalization" if is_sound else "frame_normalization"
        if own.normalization == "dataset":
            lines.append(f"These records ({name}) are normalised by them: --{flag}=dataset.")
        elif is_sound:
            lines.append(
                f"These records ({name}) are normalised otherwise, "
                f"--{flag}={own.normalization}. To make other records with these: "
                f"--audio_mean={found.mean[0]!r} --audio_deviation={found.deviation[0]!r}"
            )
        else:
            lines.append(
                f"These records ({name}) are normalised by mean {_listed(own.mean)} and deviation "
                f"{_listed(own.deviation)}; records made with --{flag}=dataset use their own."
            )
    return "\n".join(lines)


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)


if __name__ == "__main__":
    launch(MeasureSettings, run)
