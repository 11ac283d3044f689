"""Decodes a media file into the pictures and the sound of one clip, packet by packet."""

import math
import pathlib

import av
import numpy as np
from av.error import FFmpegError

from input_pipelines.pictures import NearestFrames

# Media that end earlier than they should by more than this are noted as damaged.
END_TOLERANCE_S = 0.5
# Sound decoded before the clip's start, so that neither the decoder's warm-up nor the edge of the
# resampler's filter is heard in the clip.
_PREROLL_S = 0.1
# A jump of the time stamps longer than this is lost sound (about one AAC frame); shorter ones are
# containers that round.
_SOUND_JUMP_S = 0.02
# Playlists must not lead to other machines.
_OPEN_OPTIONS = {"protocol_whitelist": "file"}


class MediaError(Exception):
    """A clip that cannot be used; its text is the reason and names the file."""


class SoundTrack:
    """Places decoded sound, resampled to mono, at its time on the clip's axis."""

    def __init__(self, sample_rate_hz: int, limit_s: float):
        self._rate = sample_rate_hz
        self._limit_s = limit_s
        self.reset()

    def reset(self) -> None:
        """Forgets everything, for another attempt."""
        self.finished = False
        self.first_s = math.inf
        self._segments: list[tuple[int, list[np.ndarray]]] = []
        self._resampler = None
        self._source = None
        self._expected_s = math.nan

    def add(self, frame: av.AudioFrame, time_s: float) -> None:
        """Takes the next frame; its first sample is `time_s` after the clip's start."""
        self.first_s = min(self.first_s, time_s)
        end_s = time_s + frame.samples / frame.sample_rate
        if time_s >= self._limit_s + _PREROLL_S:
            self.finished = True
        if self.finished or end_s <= -_PREROLL_S:
            return
        source = (frame.format.name, frame.layout.name, frame.sample_rate)
        jumped = not abs(time_s - self._expected_s) <= _SOUND_JUMP_S
        if self._resampler is None or source != self._source or jumped:
            self.flush()
            self._source = source
            self._resampler = av.AudioResampler("s16", "mono", self._rate)
            self._segments.append((round(time_s * self._rate), []))
            self._expected_s = time_s
        self._expected_s += frame.samples / frame.sample_rate
        # The place of a segment is that of its first sample; within it samples only follow.
        frame.pts = None
        self._take(frame)

    def flush(self) -> None:
        """Takes what the resampler still holds."""
        if self._resampler is not None:
            self._take(None)
            self._resampler = None

    def _take(self, frame: av.AudioFrame | None) -> None:
        chunks = self._segments[-1][1]
        chunks += [out.to_ndarray().reshape(-1) for out in self._resampler.resample(frame)]

    @property
    def end_s(self) -> float:
        """Where the sound ends, seconds after the clip's start."""
        ends = [first + sum(map(len, chunks)) for first, chunks in self._segments]
        return min(max(ends, default=0) / self._rate, self._limit_s)

    @property
    def has_samples(self) -> bool:
        """Whether there is any sound in the clip."""
        return any(
            first < self._limit_s * self._rate and first + sum(map(len, chunks)) > 0
            for first, chunks in self._segments
        )

    def waveform(self, duration_s: float) -> np.ndarray:
        """Returns int16 `[samples]` of the clip's first seconds, 0 where there is no sound."""
        waveform = np.zeros(round(duration_s * self._rate), np.int16)
        for first, chunks in self._segments:
            samples = np.concatenate([*chunks, np.zeros(0, np.int16)])[max(0, -first) :]
            place = waveform[max(0, first) :][: len(samples)]
            place[:] = samples[: len(place)]
        return waveform


def decode(
    path: pathlib.Path,
    start_s: float,
    frames: NearestFrames | None,
    sound: SoundTrack | None,
    problems: list[str],
) -> float | None:
    """Decodes a file into the given sinks.

    Args:
      path: A file of any container PyAV knows.
      start_s: Where the clip begins in it, seconds.
      frames: Takes the pictures; None: they are not wanted.
      sound: Takes the sound; None: it is not wanted.
      problems: Gets what was wrong with the file.

    Returns:
      The file's length as it declares it, seconds; None where it does not.

    Raises:
      MediaError: where the file cannot be opened or lacks a wanted track.
    """
    if not path.is_file():
        raise MediaError(f"{path.name}: {'is a folder' if path.is_dir() else 'no such file'}")
    if path.stat().st_size == 0:
        raise MediaError(f"{path.name}: the file is empty")
    sinks = [sink for sink in (frames, sound) if sink is not None]
    attempt: list[str] = []
    declared_s = _decode_once(path, start_s, frames, sound, attempt, start_s > _PREROLL_S)
    if start_s > _PREROLL_S and any(sink.first_s > 0 for sink in sinks):
        # Either the file has a gap there, or its index is wrong and the jump went too far.
        for sink in sinks:
            sink.reset()
        attempt = []
        declared_s = _decode_once(path, start_s, frames, sound, attempt, False)
    problems += attempt
    return declared_s


def _decode_once(
    path: pathlib.Path,
    start_s: float,
    frames: NearestFrames | None,
    sound: SoundTrack | None,
    problems: list[str],
    seek: bool,
) -> float | None:
    """Decodes a file from its beginning, or from just before the clip with `seek`."""
    try:
        container = av.open(str(path), options=_OPEN_OPTIONS)
    except (FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"{path.name}: not readable as media ({error_text(error)})") from error
    lost = 0
    with container:
        # A negative start is an encoder's priming, which players leave out.
        origin_s = max(0.0, (container.start_time or 0) / av.time_base)
        sinks = {}
        clocks = {}
        for kind, sink in (("video", frames), ("audio", sound)):
            if sink is None:
                continue
            stream = container.streams.best(kind)
            if stream is None or stream.codec_context is None:
                raise MediaError(f"{path.name}: no {kind} track")
            stream.codec_context.thread_count = 1
            sinks[stream] = sink
            clocks[stream] = _Clock(stream, origin_s + start_s)
        if seek:
            try:
                container.seek(round((origin_s + start_s - _PREROLL_S) * av.time_base))
            except FFmpegError:
                pass
        packets = container.demux(list(sinks))
        while not all(sink.finished for sink in sinks.values()):
            try:
                packet = next(packets, None)
            except IndexError:
                # PyAV cannot pass over packets of a track that begins in the middle of the file.
                packets = container.demux(list(sinks))
                continue
            except FFmpegError as error:
                problems.append(f"{path.name}: reading stopped ({error_text(error)})")
                packet = None
            if packet is None:
                break
            stream = packet.stream
            if sinks[stream].finished:
                continue
            try:
                for frame in [] if packet.is_corrupt else packet.decode():
                    sinks[stream].add(frame, clocks[stream].time_s(frame))
                lost += packet.is_corrupt
            except FFmpegError:
                lost += 1
        for stream, sink in sinks.items():
            _drain(stream, sink, clocks[stream])
            if sink is frames:
                frames.close(clocks[stream].interval_s, still=stream.frames <= 1)
            else:
                sound.flush()
        declared_s = container.duration / av.time_base if container.duration else None
    if lost:
        problems.append(f"{path.name}: {lost} packets could not be decoded")
    end_s = start_s + max(sink.end_s for sink in sinks.values())
    if declared_s and not any(sink.finished for sink in sinks.values()):
        if end_s < declared_s - END_TOLERANCE_S:
            problems.append(f"{path.name}: ends at {end_s:.2f} s, but declares {declared_s:.2f} s")
    return declared_s


def read_image(file: pathlib.Path) -> av.VideoFrame:
    """Returns the picture in an image file; raises MediaError or FFmpegError."""
    with av.open(str(file), options=_OPEN_OPTIONS) as container:
        for frame in container.decode(video=0):
            return frame
    raise MediaError("no picture")


class _Clock:
    """Times of a stream's frames on the clip's axis, also where the file gives none."""

    def __init__(self, stream: av.stream.Stream, zero_s: float):
        self._stream = stream
        self._zero_s = zero_s
        rate = getattr(stream, "average_rate", None)
        self.interval_s = 1 / float(rate) if rate else 0.04
        self._next_s = 0.0

    def time_s(self, frame: av.VideoFrame | av.AudioFrame) -> float:
        """Returns when the frame begins, seconds after the clip's start."""
        stamp = frame.dts if frame.pts is None else frame.pts
        time_s = self._next_s if stamp is None else float(stamp * self._stream.time_base)
        if isinstance(frame, av.AudioFrame):
            self._next_s = time_s + frame.samples / frame.sample_rate
        else:
            if frame.duration:
                self.interval_s = float(frame.duration * self._stream.time_base)
            self._next_s = time_s + self.interval_s
        return time_s - self._zero_s


def _drain(stream: av.stream.Stream, sink: NearestFrames | SoundTrack, clock: _Clock) -> None:
    """Takes the frames a decoder still holds; there are none where it came to the end."""
    try:
        for frame in stream.codec_context.decode(None):
            sink.add(frame, clock.time_s(frame))
    except FFmpegError:
        pass


def error_text(error: Exception) -> str:
    """Returns the reason alone, without FFmpeg's number and the whole path."""
    return getattr(error, "strerror", None) or str(error)
