"""What one clip may cost, and the error that says why a clip cannot be used."""

import errno
import time
import typing

from input_pipelines.settings import MediaLimits

# What a jump within a file counts for.
_SEEK_BYTES = 4096


class MediaError(Exception):
    """A clip that cannot be used; its text is the reason and names the file."""


class Budget:
    """The limits of one clip, of which time runs from here on."""

    def __init__(self, limits: MediaLimits):
        self.max_pixels = limits.max_pixels
        self._max_decode_s = limits.max_decode_s
        self._until_s = time.monotonic() + limits.max_decode_s

    @property
    def options(self) -> dict[str, str]:
        """What makes FFmpeg refuse pictures before it makes room for them.

        With a margin, because decoders pad pictures; `check_size` is exact.
        """
        return {"max_pixels": str(2 * self.max_pixels + 2**16)}

    @property
    def is_late(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() >= self._until_s

    def check_time(self, name: str) -> None:
        """Raises MediaError where the file of this name is to be given up."""
        if self.is_late:
            raise MediaError(f"{name}: given up, decoding takes over {self._max_decode_s:g} s")

    def check_size(self, name: str, width: int, height: int) -> None:
        """Raises MediaError where pictures are larger than allowed."""
        if width * height > self.max_pixels:
            raise MediaError(
                f"{name}: pictures of {width}x{height}, more than {self.max_pixels} pixels"
            )


class BoundedReader:
    """A file for FFmpeg that seems to end where FFmpeg takes too much of it at once.

    FFmpeg searches for the next packet without an end, and may hold all that it reads meanwhile.

    Args:
      file: Opened to read bytes.
      budget: Whose time reading costs.
    """

    def __init__(self, file: typing.BinaryIO, budget: Budget):
        self._file = file
        self._budget = budget
        # Sixteen bits for each of four channels, and what else there is in a file.
        self._max_bytes = 8 * budget.max_pixels + 2**24
        self._num_bytes = 0
        self._end: int | None = None
        # FFmpeg knows some kinds of files by their names alone.
        self.name = getattr(file, "name", "")

    @property
    def was_cut(self) -> bool:
        """Whether the file seems to end before it does."""
        return self._end is not None

    @property
    def cut_text(self) -> str:
        """Why the file seems to end before it does."""
        return f"no picture or sound in {self._max_bytes // 2**20} MB"

    def begin(self) -> None:
        """Says that a packet was found, or that the file is opened."""
        self._num_bytes = 0

    def read(self, size: int) -> bytes:
        """Returns up to so many bytes, none at the end."""
        if self._end is not None:
            size = min(size, self._end - self.tell())
        if size <= 0 or self._budget.is_late:
            return b""
        data = self._file.read(size)
        self._spend(len(data))
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """Goes to another place of the file; what cannot be is answered as the system does."""
        # Nothing is read, but broken tables of contents can send one around without an end.
        self._spend(_SEEK_BYTES)
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):
            return -errno.EINVAL

    def tell(self) -> int:
        """Returns the place in the file."""
        return self._file.tell()

    def _spend(self, num_bytes: int) -> None:
        self._num_bytes += num_bytes
        if self._num_bytes > self._max_bytes:
            # What is before stays readable: a search often follows what it found.
            place = self.tell()
            self._end = place if self._end is None else min(place, self._end)
            self._num_bytes = 0
