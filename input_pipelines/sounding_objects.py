"""Sounding objects: the pictures and sounds of the built-in dataset."""

import dataclasses
import functools
import math
from typing import NamedTuple

import numpy as np

from input_pipelines.mixtures import draw_mixture

# The object's brightness above the ground, root mean square over the channels, of 255 levels.
OBJECT_CONTRAST = 80.0
_NUM_DISTRACTORS = 5
_NUM_LINES = 4
_NUM_WAVES = 6
_NUM_PARTIALS = 8
_SLOTS_PER_SECOND = 8
_NUM_TINTS = 6
_NUM_HAZES = 5


@dataclasses.dataclass(frozen=True)
class _Sound:
    """A class's sound: the partials that sound, and the eighths of a second in which they do.

    All classes have four partials of eight with the same mean and are on for four slots of eight,
    no two of the same kind after any shift: neither pitch, loudness nor duration gives them away.
    """

    partials: tuple[int, ...]
    rhythm: str


_SOUNDS = {
    "disc": _Sound((1, 2, 7, 8), "11101000"),
    "square": _Sound((3, 4, 5, 6), "11100100"),
    "triangle": _Sound((1, 3, 6, 8), "11100010"),
    "cross": _Sound((2, 4, 5, 7), "11011000"),
    "ring": _Sound((1, 4, 5, 8), "11001100"),
    "star": _Sound((2, 3, 6, 7), "11010010"),
    "bars": _Sound((2, 3, 5, 8), "11010100"),
    "crescent": _Sound((1, 4, 6, 7), "11001010"),
}
CLASS_NAMES = tuple(_SOUNDS)


def _inside(shape: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns the signed distance to a shape of about unit radius, negative inside."""
    radius = np.hypot(x, y)
    if shape == "disc":
        return radius - 0.85
    if shape == "square":
        return np.maximum(abs(x), abs(y)) - 0.75
    if shape == "triangle":
        return np.maximum(y, abs(x) * math.sqrt(0.75) - y / 2) - 0.55
    if shape == "cross":
        across = np.maximum(abs(x) - 1.0, abs(y) - 0.3)
        return np.minimum(across, np.maximum(abs(x) - 0.3, abs(y) - 1.0))
    if shape == "ring":
        return abs(radius - 0.75) - 0.22
    if shape == "star":
        return radius - 0.7 - 0.35 * np.cos(5 * np.arctan2(x, -y))
    if shape == "bars":
        return np.maximum(abs(abs(x) - 0.6) - 0.25, abs(y) - 0.9)
    return np.maximum(radius - 0.95, 0.75 - np.hypot(x - 0.5, y))


@dataclasses.dataclass(frozen=True)
class _Body:
    """Something that moves: lengths in pixels, angles in radians; `[2]` are x and y."""

    radius: float
    centre: np.ndarray
    swing: np.ndarray
    frequency_hz: np.ndarray
    phase: np.ndarray
    angle: float
    turn: float
    colour: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator, frame_size: int, largest_angle: float) -> "_Body":
        radius = frame_size * rng.uniform(0.2, 0.3)
        # The whole path stays in the frame, but for a rim of a fifth of the radius.
        centre = rng.uniform(radius, frame_size - radius, 2)
        room = np.minimum(centre, frame_size - centre) - 0.8 * radius
        colour = rng.uniform(0.3, 1.0, 3)
        return cls(
            radius=radius,
            centre=centre,
            swing=rng.uniform(0.3, 1.0, 2) * room,
            frequency_hz=rng.uniform(0.3, 0.9, 2),
            phase=rng.uniform(0, 2 * math.pi, 2),
            angle=rng.uniform(-largest_angle, largest_angle),
            turn=rng.uniform(-0.2, 0.2),
            colour=colour / np.sqrt(np.mean(colour**2)),
        )

    def local(self, x: np.ndarray, y: np.ndarray, time_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Returns the pixels' coordinates in units of the body's radius."""
        swing = np.sin(2 * math.pi * self.frequency_hz * time_s + self.phase)
        centre = self.centre + self.swing * swing
        angle = self.angle + self.turn * math.sin(2 * math.pi * time_s)
        x, y = (x - centre[0]) / self.radius, (y - centre[1]) / self.radius
        cosine, sine = math.cos(angle), math.sin(angle)
        return cosine * x + sine * y, cosine * y - sine * x

    def coverage(self, distance: np.ndarray) -> np.ndarray:
        """Returns the share of every pixel that the body covers, `[H, W, 1]`."""
        return np.clip(0.5 - distance * self.radius, 0, 1)[..., None]


def _draw_ground(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns texture and lines in units of the clutter's contrast, `[H, W, 3]`."""
    size = len(x)
    direction, share, phase = rng.uniform(0, 1, (3, _NUM_WAVES, 1, 1))
    direction, period = 2 * math.pi * direction, size * (0.12 + 0.5 * share)
    along = (np.cos(direction) * x + np.sin(direction) * y) / period
    waves = np.cos(2 * math.pi * (along + phase))
    ground = 0.25 * np.einsum("khw,kc->hwc", waves, rng.normal(size=(_NUM_WAVES, 3)))
    for angle, offset, width in rng.uniform(0, 1, (_NUM_LINES, 3)):
        angle *= math.pi
        across = (x - size / 2) * math.cos(angle) + (y - size / 2) * math.sin(angle)
        distance = abs(across - (offset - 0.5) * size) - (0.5 + 1.5 * width)
        ground += np.clip(0.5 - distance, 0, 1)[..., None] * rng.uniform(-1, 1, 3)
    return ground


class Shared(NamedTuple):
    """What sound and picture of one object have in common besides its class.

    Args:
      events_s: Start and end of the moments in which it is seen and heard, `[E, 2]`, in seconds;
        None: always.
      tint: From 0 to 1, how red instead of blue it is, and how much of its sound hums instead of
        ticking; None: neither tells of the other.
      haze: From 0 to 1, how green the ground is and how loud it hisses; None as for the tint.
    """

    events_s: np.ndarray | None = None
    tint: float | None = None
    haze: float | None = None

    def present(self, times_s: np.ndarray) -> np.ndarray:
        """Returns whether the object is there at each time, bool of the times' shape."""
        if self.events_s is None:
            return np.ones(np.shape(times_s), bool)
        times_s = np.asarray(times_s)[..., np.newaxis]
        return np.any((self.events_s[:, 0] <= times_s) & (times_s < self.events_s[:, 1]), axis=-1)


NOTHING_SHARED = Shared()


def draw_shared(
    rng: np.random.Generator, duration_s: float, *, events: bool, traits: bool
) -> Shared:
    """Draws what sound and picture of one clip have in common.

    Args:
      rng: Source of all draws.
      duration_s: Of the clip, seconds.
      events: Whether the object comes and goes: there for 0.3 to 0.8 s, away for 0.4 to 1.2 s.
      traits: Whether its colour tells its timbre, one of six, and the ground's hue the
        hiss, one of five.
    """
    count = int(duration_s / 0.7) + 3
    gaps, lengths = rng.uniform(0.4, 1.2, count), rng.uniform(0.3, 0.8, count)
    starts = np.cumsum(gaps + lengths) - lengths - rng.uniform(0, 1.2)
    tint = rng.integers(_NUM_TINTS) / (_NUM_TINTS - 1)
    haze = rng.integers(_NUM_HAZES) / (_NUM_HAZES - 1)
    return Shared(
        np.stack([starts, starts + lengths], axis=1) if events else None,
        *((float(tint), float(haze)) if traits else ()),
    )


def draw_picture(
    label: str,
    rng: np.random.Generator,
    *,
    num_frames: int,
    frame_rate: float,
    frame_size: int,
    clutter: float,
    shared: Shared = NOTHING_SHARED,
) -> np.ndarray:
    """Draws one object that moves on a cluttered ground.

    Args:
      label: One of `CLASS_NAMES`.
      rng: Source of all draws.
      num_frames: Frames.
      frame_rate: Frames per second.
      frame_size: Height and width in pixels.
      clutter: Contrast of the ground and the distractors as a share of the object's, from 0 to 1.
      shared: What the object's sound tells of it, too.

    Returns:
      Frames uint8 `[N, H, W, 3]`.
    """
    size = frame_size
    x, y = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5)
    base = rng.uniform(70, 130, 3)
    ground = _draw_ground(x, y, rng)
    # Distractors are irregular quadrangles, brighter or darker than the ground.
    distractors = []
    for _ in range(_NUM_DISTRACTORS):
        body = _Body.draw(rng, size, math.pi)
        normals = np.linspace(0, 2 * math.pi, 4, endpoint=False) + rng.uniform(-0.6, 0.6, 4)
        sides = list(zip(np.cos(normals), np.sin(normals), rng.uniform(0.2, 0.9, 4), strict=True))
        distractors.append((body, sides, rng.choice([-1.0, 1.0]) * body.colour))
    # As far to the left as to the right: a mirrored clip keeps its class.
    thing = _Body.draw(rng, size, math.pi / 12)
    if shared.tint is not None:
        base = np.array([70, 30 + 190 * shared.haze, 70]) + rng.uniform(-10, 10)
        colour = np.array([shared.tint, 0.35, 1 - shared.tint]) * rng.uniform(200, 250)
        thing = dataclasses.replace(thing, colour=(colour - base) / OBJECT_CONTRAST)
    present = shared.present(np.arange(num_frames) / frame_rate)

    frames = np.empty((num_frames, size, size, 3), np.uint8)
    for number, frame in enumerate(frames):
        time_s = number / frame_rate
        behind = ground.copy()
        for body, sides, colour in distractors:
            u, v = body.local(x, y, time_s)
            distance = functools.reduce(np.maximum, (c * u + s * v - o for c, s, o in sides))
            behind += body.coverage(distance) * colour
        behind *= clutter
        covered = thing.coverage(_inside(label, *thing.local(x, y, time_s))) * present[number]
        picture = base + OBJECT_CONTRAST * (behind + covered * (thing.colour - behind))
        frame[:] = np.clip(np.rint(picture), 0, 255)
    return frames


def draw_sound(
    label: str,
    rng: np.random.Generator,
    *,
    num_samples: int,
    sample_rate_hz: int,
    signal_to_noise_db: float,
    shared: Shared = NOTHING_SHARED,
) -> np.ndarray:
    """Draws the sound of one object in noise between white and pink.

    Args:
      label: One of `CLASS_NAMES`.
      rng: Source of all draws.
      num_samples: Length in samples.
      sample_rate_hz: Samples per second, >= 8,000.
      signal_to_noise_db: Power of the sound over that of the noise in dB.
      shared: What the object's picture tells of it, too; its events take the place of the rhythm,
        and tint and haze that of the class's own sound.

    Returns:
      Waveform float32 `[num_samples]`, its peak from 0.2 to 0.9.
    """
    rate = sample_rate_hz
    time_s = np.arange(num_samples) / rate
    if shared.tint is None:
        tone = _draw_chord(_SOUNDS[label].partials, rng, time_s, rate)
        # The rhythm begins anywhere and its edges last 10 ms, or they would click.
        pattern = np.array([float(slot) for slot in _SOUNDS[label].rhythm])
        slots = ((time_s + rng.uniform(0, 1)) * _SLOTS_PER_SECOND).astype(int) % len(pattern)
        gate = pattern[slots]
    else:
        tone = draw_mixture(shared.tint, shared.haze, rng, num_samples, rate)
        gate = np.ones(num_samples)
    if shared.events_s is not None:
        gate = shared.present(time_s).astype(float)
    ramp = rate // 100
    tone *= np.convolve(gate, np.ones(ramp) / ramp, "same")

    spectrum = np.fft.rfft(rng.normal(size=num_samples))
    spectrum /= np.maximum(np.arange(len(spectrum)), 1) ** rng.uniform(0, 0.5)
    noise = np.fft.irfft(spectrum, num_samples)
    noise *= np.sqrt(np.mean(tone**2) / np.mean(noise**2)) * 10 ** (-signal_to_noise_db / 20)
    peak = rng.uniform(0.2, 0.9)
    return (peak * (tone + noise) / np.abs(tone + noise).max()).astype(np.float32)


def _draw_chord(
    partials: tuple[int, ...], rng: np.random.Generator, time_s: np.ndarray, rate: int
) -> np.ndarray:
    """Returns a class's partials over a pitch of any height, `[S]`."""
    # Two octaves; the highest partial stays below half of the lowest sample rate.
    pitch_hz = 120 * 2 ** (2 * rng.uniform())
    vibrato = rng.uniform(0, 0.01) * np.sin(2 * math.pi * rng.uniform(3, 6) * time_s)
    cycles = pitch_hz * np.cumsum(1 + vibrato) / rate
    phases = rng.uniform(0, 1, _NUM_PARTIALS)
    amplitudes = np.exp(0.2 * rng.normal(size=_NUM_PARTIALS))
    tone = np.zeros(len(time_s))
    for partial in partials:
        wave = np.sin(2 * math.pi * (partial * cycles + phases[partial - 1]))
        tone += amplitudes[partial - 1] * wave
    return tone
