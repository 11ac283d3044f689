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


def draw_ground_and_object(shared, seed=0):
    """Returns the ground's colour and the object's, of a clip without noise."""
    frame = sounding_objects.draw_picture(
        "square", np.random.default_rng(seed), num_frames=1, frame_rate=1, frame_size=64,
        clutter=0.0, shared=shared,
    )[0].astype(float)  # fmt: skip
    ground = np.median(frame, axis=(0, 1))
    return ground, np.median(frame[np.abs(frame - ground).sum(-1) > 60], axis=0)


def draw_levels(shared, seed=0):
    """Returns the levels in dB of hum, ticks and hiss, apart as only they can be."""
    sound = sounding_objects.draw_sound(
        "disc", np.random.default_rng(seed), num_samples=16_000, sample_rate_hz=16_000,
        signal_to_noise_db=60, shared=shared,
    )  # fmt: skip
    # A clip of a second has bins of 1 Hz: the hum has twelve of them, the hiss all from 3 kHz on.
    power = np.abs(np.fft.rfft(sound)) ** 2
    hum = power[110:1321:110].sum()
    # Ticks are gone after 20 ms of 100 or more: the median of the rest is the hiss between them.
    high = np.fft.irfft(np.where(np.arange(8001) >= 3000, np.fft.rfft(sound), 0), 16_000)
    energies = np.square(high.reshape(-1, 160)).sum(axis=1)
    hiss = np.median(energies) * len(energies)
    low = np.fft.rfft(sound)
    low[110:1321:110] = 0
    ticks = np.square(np.fft.irfft(np.where(np.arange(8001) < 3000, low, 0), 16_000)).sum()
    hum /= 8_000
    return 10 * np.log10([hum, ticks * 8 / 3, hiss])


def test_a_colour_tells_a_timbre():
    for number in range(6):
        tint = number / 5
        shared = sounding_objects.Shared(tint=tint, haze=0.0)
        _, colour = draw_ground_and_object(shared, number)
        assert colour[0] / (colour[0] + colour[2]) == pytest.approx(tint, abs=0.02)
        hum_db, ticks_db, _ = draw_levels(shared, number)
        # 20 dB either way; the bins of the hum hold a hundredth of the ticks as well.
        assert hum_db - ticks_db == pytest.approx(40 * (tint - 0.5), abs=3)


def test_the_ground_tells_a_hiss():
    for number in range(5):
        haze = number / 4
        shared = sounding_objects.Shared(tint=1.0, haze=haze)
        ground, _ = draw_ground_and_object(shared, number)
        assert ground[1] - ground[0] == pytest.approx(190 * haze - 40, abs=2)
        hum_db, _, hiss_db = draw_levels(shared, number)
        assert hiss_db - hum_db == pytest.approx(40 * (haze - 1), abs=1.5)


def test_traits_are_few_and_drawn_apart():
    rng = np.random.default_rng(0)
    drawn = [sounding_objects.draw_shared(rng, 1.0, events=False, traits=True) for _ in range(600)]
    found = {(5 * shared.tint, 4 * shared.haze) for shared in drawn}
    assert found == set(itertools.product(range(6), range(5)))
