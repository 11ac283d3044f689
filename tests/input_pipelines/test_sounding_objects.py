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
