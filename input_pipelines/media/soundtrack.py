"""The sound of one clip, put together from decoded frames of any rate and layout."""

import math

import av
import numpy as np

from input_pipelines.media.budget import MediaError

# Sound decoded before the clip's start, so that neither the decoder's warm-up nor the edge of the
# resampler's filter is heard in the clip.
PREROLL_S = 0.1
# A jump of the time stamps longer than this is lost sound (about one AAC frame); shorter ones are
# containers that round.
_JUMP_S = 0.02
# What any recorder makes. Outside of it a header is broken, and the resampler's filter or what it
# makes of one frame grows past all memory.
_MIN_RATE_HZ, _MAX_RATE_HZ = 1_000, 768_000
# The most that libswresample mixes.
_MAX_CHANNELS = 62


class SoundTrack:
    """Places decoded sound, resampled to mono, at its time on the clip's axis.

    Holds at most the clip's samples, whatever the time stamps are.

    Args:
      sample_rate_hz: Of the waveform.
      limit_s: Sound from here on is not taken, seconds after the clip's start; finite.
    """

    def __init__(self, sample_rate_hz: int, limit_s: float):
        self._rate = sample_rate_hz
        self._limit_s = limit_s
        self.reset()

    def reset(self) -> None:
        """Forgets everything, for another attempt."""
        self.finished = False
        self.first_s = math.inf
        self._samples = np.zeros(0, np.int16)
        self._num_samples = 0
        self._place = 0
        self._resampler = None
        self._source = None
        self._expected_s = math.nan

    def add(self, frame: av.AudioFrame, time_s: float) -> None:
        """Takes the next frame; its first sample is `time_s` after the clip's start.

        Raises:
          MediaError: where the frame says of itself what no recorder makes.
        """
        rate, channels = frame.sample_rate, frame.layout.nb_channels
        if not _MIN_RATE_HZ <= rate <= _MAX_RATE_HZ or channels > _MAX_CHANNELS:
            raise MediaError(f"sound of {rate} Hz and {channels} channels")
        self.first_s = min(self.first_s, time_s)
        if time_s >= self._limit_s + PREROLL_S:
            self.finished = True
        if self.finished or time_s + frame.samples / rate <= -PREROLL_S:
            return
        source = (frame.format.name, frame.layout.name, rate)
        jumped = not abs(time_s - self._expected_s) <= _JUMP_S
        if self._resampler is None or source != self._source or jumped:
            self.flush()
            self._source = source
            self._resampler = av.AudioResampler("s16", "mono", self._rate)
            # A stretch is placed by its first sample; within it samples only follow.
            self._place = round(time_s * self._rate)
            self._expected_s = time_s
        self._expected_s += frame.samples / rate
        frame.pts = None
        self._take(frame)

    def flush(self) -> None:
        """Takes what the resampler still holds."""
        if self._resampler is not None:
            self._take(None)
            self._resampler = None

    def _take(self, frame: av.AudioFrame | None) -> None:
        for out in self._resampler.resample(frame):
            chunk = out.to_ndarray().reshape(-1)
            place, self._place = self._place, self._place + len(chunk)
            self._write(max(0, place), chunk[max(0, -place) :])

    def _write(self, begin: int, chunk: np.ndarray) -> None:
        chunk = chunk[: max(0, math.ceil(self._limit_s * self._rate) - begin)]
        if not len(chunk):
            return
        end = begin + len(chunk)
        if end > len(self._samples):
            grown = np.zeros(max(end, 2 * len(self._samples)), np.int16)
            grown[: len(self._samples)] = self._samples
            self._samples = grown
        self._samples[begin:end] = chunk
        self._num_samples = max(self._num_samples, end)

    @property
    def end_s(self) -> float:
        """Where the sound ends, seconds after the clip's start."""
        return min(self._num_samples / self._rate, self._limit_s)

    @property
    def has_samples(self) -> bool:
        """Whether there is any sound in the clip."""
        return self._num_samples > 0

    def waveform(self, duration_s: float) -> np.ndarray:
        """Returns int16 `[samples]` of the clip's first seconds, 0 where there is no sound."""
        waveform = np.zeros(round(duration_s * self._rate), np.int16)
        samples = self._samples[: min(self._num_samples, len(waveform))]
        waveform[: len(samples)] = samples
        return waveform
