"""Small media files of every kind, and what can happen to them on the way to somebody's disk."""

import dataclasses
import pathlib

import numpy as np

from tests.input_pipelines import media_files

# Values that headers are not prepared for.
_EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@dataclasses.dataclass(frozen=True)
class Case:
    """One damaged file and how it is read."""

    number: int
    name: str
    data: bytes
    mutations: tuple[str, ...]
    modalities: tuple[str, ...]
    window: tuple[float, float] | None


def make_originals(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Writes one file of each kind; returns their paths by name."""
    luma = [20 + 8 * (index % 25) for index in range(40)]
    paths = {
        name: folder / name
        for name in (*media_files.FILMS, *media_files.SOUNDS, *media_files.IMAGES, "cover.mp3")
    }
    for name, options in media_files.FILMS.items():
        rate_hz = 48_000 if "opus" in name else 22_050 if "pcm" in name else 44_100
        sound = media_files.tone(1.6, rate_hz=rate_hz, channels=(1.0, 0.5))
        media_files.write_video(paths[name], luma, sound, rate_hz=rate_hz, **options)
    for name, codec in media_files.SOUNDS.items():
        rate_hz = 48_000 if "opus" in name else 44_100
        sound = media_files.tone(1.0, rate_hz=rate_hz, channels=(1.0, 0.5))
        media_files.write_sound(paths[name], sound, codec, rate_hz)
    gradient = np.add.outer(np.arange(48), np.arange(64)) * 2
    for name in media_files.IMAGES:
        media_files.write_image(paths[name], gradient)
    media_files.write_sound(
        paths["cover.mp3"], sound, "libmp3lame", rate_hz, cover=paths["a.jpg"].read_bytes()
    )
    return paths


def make_case(originals: dict[str, pathlib.Path], seed: int, number: int) -> Case:
    """Returns the damaged file of a number; kinds take turns, all else is drawn."""
    rng = np.random.default_rng([seed, number])
    name = list(originals)[number % len(originals)]
    data = bytearray(originals[name].read_bytes())
    mutations = [str(rng.choice(list(MUTATIONS))) for _ in range(rng.choice([1, 1, 2, 3]))]
    for mutation in mutations:
        MUTATIONS[mutation](data, rng)
    if name in media_files.FILMS or name == "cover.mp3":
        choices = [("audio", "visual"), ("audio", "visual"), ("audio",), ("visual",)]
    elif name in media_files.SOUNDS:
        choices = [("audio",)]
    else:
        choices = [("visual",), ("flow",)]
    modalities = choices[rng.integers(len(choices))]
    window = [None, None, (0.4, 1.2)][rng.integers(3)]
    if modalities == ("flow",):
        # Its one image ends before that window.
        window = None
    if rng.integers(10) == 0:
        suffix = pathlib.Path(list(originals)[rng.integers(len(originals))]).suffix
        name = pathlib.Path(name).stem + suffix
    return Case(number, name, bytes(data), tuple(mutations), modalities, window)


def _flip(data: bytearray, rng: np.random.Generator) -> None:
    for place in rng.integers(len(data), size=rng.integers(1, 65)) if data else ():
        data[place] ^= 1 << rng.integers(8)


def _cut(data: bytearray, rng: np.random.Generator) -> None:
    del data[rng.integers(len(data) + 1) :]


def _block(data: bytearray, rng: np.random.Generator) -> slice:
    begin = int(rng.integers(len(data) + 1))
    return slice(begin, begin + int(rng.integers(1, len(data) // 4 + 2)))


def _zero(data: bytearray, rng: np.random.Generator) -> None:
    block = _block(data, rng)
    data[block] = bytes(len(data[block]))


def _noise(data: bytearray, rng: np.random.Generator) -> None:
    block = _block(data, rng)
    data[block] = rng.bytes(len(data[block]))


def _swap(data: bytearray, rng: np.random.Generator) -> None:
    first, second = _block(data, rng), _block(data, rng)
    data[first], data[second] = data[second], data[first]


def _double(data: bytearray, rng: np.random.Generator) -> None:
    block = _block(data, rng)
    data[block.start : block.start] = data[block]


def _remove(data: bytearray, rng: np.random.Generator) -> None:
    del data[_block(data, rng)]


def _header(data: bytearray, rng: np.random.Generator) -> None:
    for _ in range(rng.integers(1, 5)):
        size = int(rng.choice([1, 2, 4]))
        # Tables of contents are at either end.
        place = int(rng.integers(min(len(data), 1024) + 1))
        place = len(data) - place if rng.integers(3) == 0 else place
        value = int(rng.choice(_EXTREMES)) & (1 << 8 * size) - 1
        data[place : place + size] = value.to_bytes(size, str(rng.choice(["big", "little"])))


MUTATIONS = {
    "flip": _flip, "cut": _cut, "zero": _zero, "noise": _noise, "swap": _swap,
    "double": _double, "remove": _remove, "header": _header,
}  # fmt: skip
