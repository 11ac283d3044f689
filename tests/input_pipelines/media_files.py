"""Writes small media files whose content is known by numbers."""

import fractions
import wave

import av
import numpy as np

FRAME_RATE = 25
BLACK, WHITE = 16, 235


def tone(
    duration_s, frequency_hz=1000.0, amplitude=0.5, rate_hz=16_000, begins_s=0.0, channels=(1.0,)
):
    """Returns float32 `[channels, samples]`: silence, then a sine from `begins_s` on."""
    time_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    sine = amplitude * np.sin(2 * np.pi * frequency_hz * time_s) * (time_s >= begins_s)
    return np.stack([gain * sine for gain in channels]).astype(np.float32)


def write_video(
    path,
    luma,
    sound=None,
    *,
    rate_hz=16_000,
    width=64,
    height=48,
    codec="libx264",
    audio_codec="aac",
    gop=12,
    sound_at_s=0.0,
    options=None,
):
    """Writes a video of even frames of the given brightnesses (16 to 235), 25 per second.

    `sound` is float32 `[channels, samples]`, or None for no audio track.
    """
    with av.open(str(path), "w", options=options or {}) as container:
        video = container.add_stream(codec, rate=FRAME_RATE)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.codec_context.gop_size = gop
        video.bit_rate = 400_000
        audio = None
        if sound is not None:
            layout = "mono" if len(sound) == 1 else "stereo"
            audio = container.add_stream(audio_codec, rate=rate_hz, layout=layout)
        packets = []
        for index, value in enumerate(luma):
            planes = np.full((height * 3 // 2, width), 128, np.uint8)
            planes[:height] = value
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts, frame.time_base = index, fractions.Fraction(1, FRAME_RATE)
            packets += video.encode(frame)
        packets += video.encode(None)
        if audio is not None:
            for start in range(0, sound.shape[1], 1024):
                chunk = np.ascontiguousarray(sound[:, start : start + 1024])
                frame = av.AudioFrame.from_ndarray(chunk, format="fltp", layout=layout)
                frame.sample_rate = rate_hz
                frame.pts = start + round(sound_at_s * rate_hz)
                frame.time_base = fractions.Fraction(1, rate_hz)
                packets += audio.encode(frame)
            packets += audio.encode(None)
        # In the order of time, as a recorder writes them.
        for packet in sorted(packets, key=lambda packet: float(packet.dts * packet.time_base)):
            container.mux(packet)


def write_wav(path, sound, rate_hz=16_000):
    """Writes float32 `[1, samples]` as 16-bit mono."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes((sound[0] * 32767).round().astype("<i2").tobytes())


def write_image(path, value, width=64, height=48):
    """Writes an evenly grey image."""
    array = np.full((height, width, 3), value, np.uint8)
    av.VideoFrame.from_ndarray(array, format="rgb24").save(str(path))
