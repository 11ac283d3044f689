"""One stored clip, as a report shows it."""

from collections.abc import Mapping

from input_pipelines import inspection
from input_pipelines.clips import Example
from input_pipelines.index import Index
from ogm_tf.analysis.summaries import ClipExample


def clip_example(
    clip: Example,
    index: Index,
    label: str,
    predictions: Mapping[str, Mapping[str, tuple[str, float]]],
) -> ClipExample:
    """Returns a clip with the right answer and what every run says: see `ClipExample`."""
    return ClipExample(
        clip_id=clip.clip_id,
        label=label,
        frames=clip.frames,
        spectrogram=inspection.spectrogram(clip, index.settings),
        sample_rate_hz=index.settings.audio.sample_rate_hz,
        hop_length=index.settings.audio.hop_length,
        predictions=predictions,
        waveform=clip.waveform,
        flow=clip.inputs.get("flow"),
        is_mel=inspection.is_mel(index.settings),
        start_s=clip.start_s,
    )
