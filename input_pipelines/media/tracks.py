"""The wanted modalities of one clip, and from which of its files each of them comes."""

import math
from collections.abc import Callable
from typing import Any

import av

from input_pipelines import files
from input_pipelines.listing import Clip
from input_pipelines.media import folders
from input_pipelines.media.budget import Budget, MediaError
from input_pipelines.media.decoding import decode, read_length
from input_pipelines.media.pictures import JpegEncoder, NearestFrames
from input_pipelines.media.soundtrack import SoundTrack
from input_pipelines.settings import ClipSettings, VideoSettings


class FrameTrack:
    """Frames of one modality: chosen by their times, then encoded.

    Args:
      settings: The number and size of the frames.
      limit_s: Frames from here on are not taken, seconds after the clip's start.
      pixel_format: Of the JPEG files.
      read: Turns what `frames` is given into a picture, or raises MediaError, which is noted;
        None: it is given pictures.
      problems: Gets the notes.
    """

    def __init__(
        self,
        settings: VideoSettings,
        limit_s: float,
        pixel_format: str,
        read: Callable[[Any], av.VideoFrame] | None,
        problems: list[str],
    ):
        self.encoder = JpegEncoder(settings.stored_short_side, settings.jpeg_quality, pixel_format)
        self._read = read
        self._problems = problems
        encode = self._read_and_encode if read else self.encoder.encode
        self.frames = NearestFrames(settings.frames_per_second, limit_s, encode)

    def _read_and_encode(self, item: Any) -> bytes | None:
        try:
            return self.encoder.encode(self._read(item))
        except MediaError as error:
            self._problems.append(str(error))
            return None


class Tracks:
    """Sound, pictures and flow of one clip; those that are not wanted are None.

    Args:
      clip: Where its files are.
      settings: What is wanted of them.
      limit_s: Nothing is taken from here on, seconds after the clip's start.
      budget: What reading may cost.
      problems: Gets what was wrong with the files.
    """

    def __init__(
        self,
        clip: Clip,
        settings: ClipSettings,
        limit_s: float,
        budget: Budget,
        problems: list[str],
    ):
        self._clip = clip
        self._settings = settings
        self._budget = budget
        self._problems = problems
        self._start_s = clip.start_s or 0.0
        self._sound_path = clip.audio_path or clip.path
        self._has_folder = files.is_folder(clip.path)
        self.sound: SoundTrack | None = None
        self.visual: FrameTrack | None = None
        self.flow: FrameTrack | None = None
        if "audio" in settings.modalities:
            self.sound = SoundTrack(settings.audio.sample_rate_hz, limit_s)
        arguments = (settings.video, limit_s)
        if "visual" in settings.modalities:
            read = self._read_image if self._has_folder else None
            self.visual = FrameTrack(*arguments, "yuvj420p", read, problems)
        if "flow" in settings.modalities:
            # Colours at full size, because they are the flow.
            self.flow = FrameTrack(*arguments, "yuvj444p", self._read_flow, problems)

    def read(self) -> None:
        """Reads all files of the clip.

        Raises:
          MediaError: where a file lacks what is wanted or costs too much.
        """
        shows = []
        clip = self._clip
        if self.sound and files.is_folder(self._sound_path):
            raise MediaError(f"{files.name(clip.path)}: a folder of frames needs an audio_path")
        if self.visual and self._has_folder:
            shows.append((clip.path, folders.list_images(clip.path), self.visual.frames))
        if self.flow:
            if clip.flow_x_path is None or clip.flow_y_path is None:
                raise MediaError(f"{files.name(clip.path)}: no folders of optical flow")
            pairs = folders.pair_flow(clip.flow_x_path, clip.flow_y_path, self._problems)
            shows.append((clip.flow_x_path, pairs, self.flow.frames))
        lengths_s = self._decode_files()
        length_s = self._length_s(lengths_s) if shows else None
        for folder, items, frames in shows:
            interval_s = 1 / self._settings.video.folder_frames_per_second
            if length_s is not None:
                interval_s = length_s / len(items)
            name = files.name(folder)
            folders.show(name, items, self._start_s, interval_s, frames, self._budget)

    def ends_s(self) -> dict[str, float]:
        """Returns where each modality ends, seconds after the clip's start.

        Raises:
          MediaError: where there is nothing of one.
        """
        rows = []
        if self.sound:
            rows.append(("sound", self._sound_path, self.sound, self.sound.has_samples))
        if self.visual:
            frames = self.visual.frames
            rows.append(("picture", self._clip.path, frames, frames.has_frames))
        if self.flow:
            frames = self.flow.frames
            rows.append(("flow", self._clip.flow_x_path, frames, frames.has_frames))
        for name, path, _, has_any in rows:
            if not has_any:
                because = "; ".join(list(dict.fromkeys(self._problems))[:3])
                because = f" ({because})" if because else ""
                raise MediaError(f"{files.name(path)}: no {name}{self._window_text()}{because}")
        return {name: track.end_s for name, _, track, _ in rows}

    @property
    def is_cut(self) -> bool:
        """Whether a file goes on after the limit."""
        tracks = [self.sound, self.visual and self.visual.frames, self.flow and self.flow.frames]
        return any(track.finished for track in tracks if track)

    def _decode_files(self) -> dict[str, float | None]:
        """Decodes what is no folder; returns how long each file is as a whole, seconds."""
        path = self._clip.path
        film = self.visual.frames if self.visual and not self._has_folder else None
        if film and self.sound and self._sound_path == path:
            plan = [(path, film, self.sound)]
        else:
            plan = [(path, film, None)] if film else []
            plan += [(self._sound_path, None, self.sound)] if self.sound else []
        lengths_s = {}
        for path, film, sound in plan:
            length_s = decode(path, self._start_s, film, sound, self._budget, self._problems)
            end_s = (sound or film).end_s + self._start_s
            lengths_s[path] = length_s or (end_s if 0 < end_s < math.inf else None)
        return lengths_s

    def _length_s(self, lengths_s: dict[str, float | None]) -> float | None:
        """Returns the time that folders are spread over; None where nothing tells it.

        What was not decoded is opened, so that times do not depend on which modalities are wanted.
        """
        for path in (self._clip.path, self._clip.audio_path):
            if path is None or files.is_folder(path):
                continue
            try:
                length_s = lengths_s[path] if path in lengths_s else read_length(path, self._budget)
            except MediaError as error:
                self._problems.append(str(error))
                continue
            if length_s:
                return length_s
        return None

    def _window_text(self) -> str:
        clip = self._clip
        if clip.start_s is None and clip.end_s is None:
            return " could be decoded"
        end = "the end" if clip.end_s is None else f"{clip.end_s:g} s"
        return f" between {self._start_s:g} s and {end}"

    def _read_image(self, path: str) -> av.VideoFrame:
        return folders.read_image(path, self._budget)

    def _read_flow(self, paths: tuple[str, str]) -> av.VideoFrame:
        return folders.read_flow(paths, self._settings.video.stored_short_side, self._budget)
