"""Decodes a media file into the pictures and the sound of one clip, packet by packet."""

import contextlib
import math
from collections.abc import Iterator

import av
from av.error import ArgumentError, FFmpegError
from av.stream import Disposition

from input_pipelines import files
from input_pipelines.media.budget import BoundedReader, Budget, MediaError
from input_pipelines.media.pictures import NearestFrames
from input_pipelines.media.soundtrack import PREROLL_S, SoundTrack

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
# Media that end earlier than they should by more than this are noted as damaged.
END_TOLERANCE_S = 0.5


@contextlib.contextmanager
def open_media(
    path: str, budget: Budget
) -> Iterator[tuple[av.container.InputContainer, BoundedReader]]:
    """Opens a file of any container PyAV knows; gives it and the reader it is read by.

    Raises:
      MediaError: where it cannot be opened.
    """
    name = files.name(path)
    if not files.is_file(path):
        raise MediaError(f"{name}: {'is a folder' if files.is_folder(path) else 'no such file'}")
    if files.size(path) == 0:
        raise MediaError(f"{name}: the file is empty")
    budget.check_time(name)
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(files.open_to_read(path))
        except OSError as error:
            raise MediaError(f"{name}: not readable ({error_text(error)})") from error
        reader = BoundedReader(file, budget)
        try:
            container = av.open(
                reader,
                # Playlists must not lead to other machines.
                options={"protocol_whitelist": "file", **budget.options},
                metadata_errors="replace",
            )
        except (FFmpegError, OSError, ValueError) as error:
            budget.check_time(name)
            reason = reader.cut_text if reader.was_cut else error_text(error)
            raise MediaError(f"{name}: not readable as media ({reason})") from error
        reader.begin()
        yield stack.enter_context(container), reader


def decode(
    path: str,
    start_s: float,
    frames: NearestFrames | None,
    sound: SoundTrack | None,
    budget: Budget,
    problems: list[str],
) -> float | None:
    """Decodes a file into the given sinks.

    Args:
      path: A file of any container PyAV knows, an image included.
      start_s: Where the clip begins in it, seconds.
      frames: Takes the pictures; None: they are not wanted.
      sound: Takes the sound; None: it is not wanted.
      budget: What decoding may cost.
      problems: Gets what was wrong with the file.

    Returns:
      The file's length as it declares it, seconds; None where it does not.

    Raises:
      MediaError: where the file cannot be opened, lacks a wanted track or costs too much.
    """
    sinks = [sink for sink in (frames, sound) if sink is not None]
    attempt: list[str] = []
    arguments = (path, start_s, frames, sound, budget, attempt)
    declared_s = _decode_once(*arguments, seek=start_s > PREROLL_S)
    is_doubtful = any(sink.first_s > 0 for sink in sinks) or (frames and frames.is_single)
    if start_s > PREROLL_S and is_doubtful:
        # Either the file has a gap there, or its index is wrong and the jump went too far; and a
        # single picture may be an image, or the last of a film.
        for sink in sinks:
            sink.reset()
        attempt.clear()
        declared_s = _decode_once(*arguments, seek=False)
    problems += attempt
    return declared_s


def read_length(path: str, budget: Budget) -> float | None:
    """Returns a file's length as it declares it, seconds; None where it does not."""
    with open_media(path, budget) as (container, _):
        return container.duration / av.time_base if container.duration else None


def _decode_once(
    path: str,
    start_s: float,
    frames: NearestFrames | None,
    sound: SoundTrack | None,
    budget: Budget,
    problems: list[str],
    seek: bool,
) -> float | None:
    """Decodes a file from its beginning, or from just before the clip with `seek`."""
    name = files.name(path)
    lost = _Lost(name, budget)
    with open_media(path, budget) as (container, reader):
        # A negative start is an encoder's priming, which players leave out.
        origin_s = max(0.0, (container.start_time or 0) / av.time_base)
        sinks = {}
        clocks = {}
        for kind, sink in (("video", frames), ("audio", sound)):
            if sink is None:
                continue
            stream = _best_stream(container, kind)
            if stream is None:
                raise MediaError(f"{name}: no {kind} track")
            prepare(stream, name, budget)
            sinks[stream] = sink
            clocks[stream] = _Clock(stream, origin_s + start_s)
        if any(map(_is_cover, sinks)):
            problems.append(f"{name}: its only picture is a cover")
        elif seek:
            with contextlib.suppress(FFmpegError):
                container.seek(round((origin_s + start_s - PREROLL_S) * av.time_base))
        packets = container.demux()
        while not all(sink.finished for sink in sinks.values()):
            budget.check_time(name)
            try:
                packet = next(packets, None)
            except IndexError:
                # PyAV cannot pass over packets of a track that begins in the middle of the file.
                packets = container.demux()
                continue
            except FFmpegError as error:
                problems.append(f"{name}: reading stopped ({error_text(error)})")
                break
            if packet is None:
                break
            reader.begin()
            stream = packet.stream
            if stream not in sinks or sinks[stream].finished:
                continue
            with lost.noted(stream):
                if packet.is_corrupt:
                    raise MediaError("marked as corrupt")
                for frame in packet.decode():
                    if stream.type == "video":
                        budget.check_size(name, frame.width, frame.height)
                    sinks[stream].add(frame, clocks[stream].time_s(frame))
        budget.check_time(name)
        if reader.was_cut:
            problems.append(f"{name}: reading stopped ({reader.cut_text})")
        for stream, sink in sinks.items():
            # What a decoder still holds; nothing where it came to the end.
            with contextlib.suppress(FFmpegError, MediaError):
                for frame in stream.codec_context.decode(None):
                    sink.add(frame, clocks[stream].time_s(frame))
            if sink is frames:
                if not (stream.codec_context.width or math.isfinite(frames.first_s)):
                    problems.append(f"{name}: {no_picture_text(budget)}")
                still = _is_cover(stream) or (stream.frames <= 1 and not seek)
                frames.close(clocks[stream].interval_s, still)
            else:
                with contextlib.suppress(FFmpegError):
                    sound.flush()
        declared_s = container.duration / av.time_base if container.duration else None
    problems += lost.text()
    end_s = max(0.0, start_s + max(sink.end_s for sink in sinks.values()))
    if declared_s and not any(sink.finished for sink in sinks.values()):
        if end_s < declared_s - END_TOLERANCE_S:
            problems.append(f"{name}: ends at {end_s:.2f} s, but declares {declared_s:.2f} s")
    return declared_s


def _best_stream(container: av.container.InputContainer, kind: str) -> av.stream.Stream | None:
    """Returns the track FFmpeg would play, a cover only where there is no other picture."""
    tracks = [track for track in getattr(container.streams, kind) if track.codec_context]
    films = [track for track in tracks if not _is_cover(track)]
    best = container.streams.best(kind)
    return best if best in films else next(iter(films or tracks), None)


def _is_cover(stream: av.stream.Stream) -> bool:
    return bool(stream.disposition & Disposition.attached_pic)


class _Lost:
    """Counts packets that could not be decoded and remembers the first reason."""

    def __init__(self, name: str, budget: Budget):
        self._name = name
        self._budget = budget
        self._count = 0
        self._reason = ""

    @contextlib.contextmanager
    def noted(self, stream: av.stream.Stream) -> Iterator[None]:
        """Lets the block fail for what is wrong with one packet."""
        try:
            yield
        except (FFmpegError, MediaError) as error:
            self._count += 1
            refused = isinstance(error, ArgumentError) and stream.type == "video"
            reason = no_picture_text(self._budget) if refused else error_text(error)
            reason = reason.removeprefix(f"{self._name}: ")
            self._reason = self._reason or reason

    def text(self) -> list[str]:
        """Returns the note for the clip's problems, if there is one."""
        if not self._count:
            return []
        packets = "1 packet" if self._count == 1 else f"{self._count} packets"
        return [f"{self._name}: {packets} could not be decoded ({self._reason})"]


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
            self._next_s = time_s + frame.samples / max(1, frame.sample_rate)
        else:
            if frame.duration:
                self.interval_s = float(frame.duration * self._stream.time_base)
            self._next_s = time_s + self.interval_s
        return time_s - self._zero_s


def prepare(stream: av.stream.Stream, name: str, budget: Budget) -> None:
    """Makes a track ready to be decoded, by one thread.

    Raises:
      MediaError: where its pictures are larger than allowed.
    """
    if stream.type == "video":
        budget.check_size(name, stream.codec_context.width, stream.codec_context.height)
    stream.codec_context.options = budget.options
    stream.codec_context.thread_count = 1


def no_picture_text(budget: Budget) -> str:
    """Returns why pictures have no size: of those that are refused, FFmpeg tells none."""
    return f"damaged, or pictures of more than {budget.max_pixels} pixels"


def error_text(error: Exception) -> str:
    """Returns the reason alone, without FFmpeg's number and the whole path."""
    return getattr(error, "strerror", None) or str(error)
