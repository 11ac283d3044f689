import colorsys
import itertools

import numpy as np
import pytest

from input_pipelines import sounding_objects


def test_no_two_classes_sound_alike_after_any_shift():
    sounds = list(sounding_objects._SOUNDS.values())
    rhythms = {
        min(sound.rhythm[shift:] + sound.rhythm[:shift] for shift in range(8)) for sound in sounds
    }
    assert len(rhythms) == len({sound.partials for sound in sounds}) == len(sounds) == 8
    assert {sum(sound.partials) for sound in sounds} == {18}
    assert {sound.rhythm.count("1") for sound in sounds} == {4}


@pytest.mark.parametrize("expected_db", [20.0, 5.0, -10.0])
def test_sound_and_noise_have_the_ratio_that_was_asked_for(expected_db):
    def draw(signal_to_noise_db):
        return sounding_objects.draw_sound(
            "disc",
            np.random.default_rng(3),
            num_samples=8_000,
            sample_rate_hz=8_000,
            signal_to_noise_db=signal_to_noise_db,
        )

    # One clip at 1,000 dB is the tone alone: what a fit of it leaves of the other is the noise.
    tone = draw(1000.0)
    mixed = draw(expected_db)
    quieter = draw(expected_db - 20)
    noise = np.linalg.lstsq(np.stack([tone, mixed], 1), quieter, rcond=None)
    np.testing.assert_allclose(np.stack([tone, mixed], 1) @ noise[0], quieter, atol=1e-5)
    # mixed = p (tone + n), quieter = q (tone + 10 n): q / p = quieter's share of mixed / 10.
    share_of_tone, share_of_mixed = noise[0].astype(float)
    scale = share_of_tone / -9 / (share_of_mixed / 10)
    noise = mixed - scale * tone
    measured_db = 10 * np.log10(np.sum((scale * tone) ** 2) / np.sum(noise**2))
    assert measured_db == pytest.approx(expected_db, abs=0.05)


def test_an_object_is_seen_and_heard_in_the_same_moments():
    shared = sounding_objects.draw_shared(np.random.default_rng(1), 4.0, events=True, traits=False)
    lengths = shared.events_s[:, 1] - shared.events_s[:, 0]
    gaps = shared.events_s[1:, 0] - shared.events_s[:-1, 1]
    assert shared.events_s[-1, 1] > 4.0
    assert lengths.min() >= 0.3 and lengths.max() <= 0.8
    assert gaps.min() >= 0.4 and gaps.max() <= 1.2
    common = {"label": "disc", "shared": shared}
    frames = sounding_objects.draw_picture(
        rng=np.random.default_rng(2), num_frames=100, frame_rate=25, frame_size=32, clutter=0.0,
        **common,
    )  # fmt: skip
    sound = sounding_objects.draw_sound(
        rng=np.random.default_rng(3), num_samples=32_000, sample_rate_hz=8_000,
        signal_to_noise_db=60, **common,
    )  # fmt: skip
    seen = frames.std(axis=(1, 2)).max(axis=1) > 5
    loudness = np.abs(sound.reshape(100, 320)).max(axis=1)
    heard = loudness > 0.1 * loudness.max()
    assert 0.2 < seen.mean() < 0.8
    # A frame is a moment, a hundredth of the sound is what follows it.
    assert np.mean(seen == heard) > 0.9


def test_a_colour_tells_a_pitch():
    for number in range(6):
        shared = sounding_objects.Shared(tone=number / 5)
        frames = sounding_objects.draw_picture(
            "square", np.random.default_rng(number), num_frames=1, frame_rate=1, frame_size=64,
            clutter=0.0, shared=shared,
        )  # fmt: skip
        sound = sounding_objects.draw_sound(
            "disc", np.random.default_rng(number), num_samples=8_000, sample_rate_hz=8_000,
            signal_to_noise_db=60, shared=shared,
        )  # fmt: skip
        difference = frames[0].astype(float) - np.median(frames[0], axis=(0, 1))
        colour = difference[np.abs(difference).sum(-1) > 30].mean(axis=0)
        hue = colorsys.rgb_to_hsv(*np.maximum(colour, 0))[0]
        # On the circle of hues, 0 and 1 are the same red.
        assert (hue - 0.75 * shared.tone + 0.5) % 1 == pytest.approx(0.5, abs=0.05)
        spectrum = np.abs(np.fft.rfft(sound))
        # The class has the first partial; a clip of a second has bins of 1 Hz.
        pitch_hz = np.flatnonzero(spectrum > 0.2 * spectrum.max())[0]
        assert pitch_hz == pytest.approx(120 * 2 ** (2 * shared.tone), rel=0.05)


def test_traits_are_few_and_drawn_apart():
    rng = np.random.default_rng(0)
    drawn = [sounding_objects.draw_shared(rng, 1.0, events=False, traits=True) for _ in range(600)]
    found = {(5 * shared.tone, 4 * shared.pace) for shared in drawn}
    assert found == set(itertools.product(range(6), range(5)))


@pytest.mark.parametrize(
    ("pace", "cycles", "rate_hz"), [(0, 2.5, 2.5), (0.5, 5.59, 5.59), (1, 12.5, 12.5)]
)
def test_stripes_tell_a_pace(pace, cycles, rate_hz):
    never = np.zeros((0, 2))
    frames = sounding_objects.draw_picture(
        "square", np.random.default_rng(0), num_frames=1, frame_rate=1, frame_size=64,
        clutter=0.0, shared=sounding_objects.Shared(never, 0.5, pace),
    )  # fmt: skip
    # Four frames wide, so that a quarter of a cycle is told from the next.
    ground = frames[0, :, :, 0].astype(float)
    power = np.abs(np.fft.fft2(ground - ground.mean(), (256, 256)))[:, :128]
    row, column = np.unravel_index(power.argmax(), power.shape)
    assert np.hypot(min(row, 256 - row), column) / 4 == pytest.approx(cycles, abs=0.5)
    sound = sounding_objects.draw_sound(
        "disc", np.random.default_rng(0), num_samples=32_000, sample_rate_hz=8_000,
        signal_to_noise_db=60, shared=sounding_objects.Shared(None, 0.5, pace),
    )  # fmt: skip
    loudness = np.square(sound).reshape(-1, 40).mean(axis=1)
    is_on = loudness > loudness.max() / 20
    assert is_on.mean() == pytest.approx(0.5, abs=0.1)
    # Of 4 s, in which a pulse begins as often as it ends.
    assert np.sum(is_on[1:] != is_on[:-1]) == pytest.approx(2 * 4 * rate_hz, abs=1.5)
