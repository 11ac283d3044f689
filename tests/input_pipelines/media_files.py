"""Writes small media files whose content is known by numbers, and reads those numbers back."""

import fractions
import os
import wave

import av
import numpy as np
from av.stream import Disposition

from input_pipelines.listing import Clip

# The AV1 encoder reports on itself otherwise.
os.environ.setdefault("SVT_LOG", "1")
FRAME_RATE = 25
BLACK, WHITE = 16, 235
# Codecs of pictures and sound, and their options, by file name: the containers people have.
FILMS = {
    "h264_aac.mp4": {},
    "h265_aac.mp4": {"codec": "libx265", "codec_options": {"x265-params": "log-level=none"}},
    "mpeg4_mp3.avi": {"codec": "mpeg4", "audio_codec": "libmp3lame"},
    "mjpeg_pcm.avi": {"codec": "mjpeg", "audio_codec": "pcm_s16le", "pixel_format": "yuvj420p"},
    "h264_pcm.mov": {"audio_codec": "pcm_s16le"},
    "prores_aac.mov": {"codec": "prores", "pixel_format": "yuv422p10le"},
    "ffv1_flac.mkv": {"codec": "ffv1", "audio_codec": "flac"},
    "vp9_opus.mkv": {"codec": "libvpx-vp9", "audio_codec": "libopus"},
    "vp8_vorbis.webm": {"codec": "libvpx", "audio_codec": "vorbis"},
    "av1_opus.webm": {"codec": "libsvtav1", "audio_codec": "libopus", "height": 64},
    "flv1_mp3.flv": {"codec": "flv", "audio_codec": "libmp3lame"},
    "h264_aac.flv": {},
    "mpeg1_mp2.mpg": {"codec": "mpeg1video", "audio_codec": "mp2"},
    "mpeg2_mp2.mpg": {"codec": "mpeg2video", "audio_codec": "mp2"},
    "h264_aac.ts": {},
    "wmv2_mp3.wmv": {"codec": "wmv2", "audio_codec": "libmp3lame"},
}
LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 6: "5.1", 8: "7.1"}
SOUNDS = {
    "pcm.wav": "pcm_s16le",
    "flac.flac": "flac",
    "mp3.mp3": "libmp3lame",
    "opus.ogg": "libopus",
    "vorbis.ogg": "vorbis",
    "aac.m4a": "aac",
    "alac.m4a": "alac",
    "aac.aac": "aac",
}
IMAGES = {
    "a.png": "png",
    "a.jpg": "mjpeg",
    "a.bmp": "bmp",
    "a.tiff": "tiff",
    "a.webp": "libwebp",
    "a.ppm": "ppm",
}


def clip_of(path, **values):
    """Returns a clip of this file; paths may be `pathlib` ones."""
    paths = {name: str(value) for name, value in values.items() if name.endswith("path")}
    return Clip("one", "train", "label", str(path), **values | paths)


def luma_of(jpeg):
    """Returns the mean brightness of a JPEG as the video's own number, 16 to 235."""
    # Not above: programs that only write media do without TensorFlow.
    import tensorflow as tf

    return float(tf.reduce_mean(tf.cast(tf.io.decode_jpeg(jpeg), tf.float32))) * 219 / 255 + 16


def amplitude_of(waveform, frequency_hz, rate_hz=16_000):
    """Returns the amplitude of one frequency, from a quarter second of the sound's middle."""
    quarter = len(waveform) // 4
    part = waveform[quarter : quarter + rate_hz // 4].astype(np.float64) / 32768
    phase = np.exp(-2j * np.pi * frequency_hz * np.arange(len(part)) / rate_hz)
    return 2 * abs(np.mean(part * phase))


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
    pixel_format="yuv420p",
    codec_options=None,
    times_s=None,
):
    """Writes 25 frames per second, each of one brightness (16 to 235) or an array of them.

    `sound` is float32 `[channels, samples]`, or None for no audio track; `times_s` is when each
    frame is shown, where that is not every 1 / 25 s.
    """
    with av.open(str(path), "w", options=options or {}) as container:
        video = container.add_stream(codec, rate=FRAME_RATE, options=codec_options or {})
        video.width, video.height, video.pix_fmt = width, height, pixel_format
        video.codec_context.gop_size = gop
        video.codec_context.thread_count = 1
        video.bit_rate = 400_000
        audio = None
        if sound is not None:
            audio = _add_sound(container, audio_codec, rate_hz, len(sound))
        if times_s is not None:
            video.codec_context.time_base = fractions.Fraction(1, 1000)
        packets = []
        for index, value in enumerate(luma):
            planes = np.full((height * 3 // 2, width), 128, np.uint8)
            planes[:height] = value
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            if pixel_format == "yuvj420p":
                # The same light by the numbers that full range has for it.
                planes[:height] = round((value - 16) * 255 / 219)
                frame = av.VideoFrame.from_ndarray(planes, format=pixel_format)
            frame.pts, frame.time_base = index, fractions.Fraction(1, FRAME_RATE)
            if times_s is not None:
                frame.pts, frame.time_base = (
                    round(times_s[index] * 1000),
                    fractions.Fraction(1, 1000),
                )
            packets += video.encode(frame)
        packets += video.encode(None)
        if audio is not None:
            packets += _encode_sound(audio, sound, rate_hz, sound_at_s)
        # In the order of time, as a recorder writes them.
        for packet in sorted(packets, key=lambda packet: float(packet.dts * packet.time_base)):
            container.mux(packet)


def write_sound(path, sound, codec, rate_hz=16_000, cover=None):
    """Writes float32 `[channels, samples]`; `cover` is the bytes of a JPEG."""
    # FFmpeg keeps covers out of what it calls m4a, though players know them from there.
    container_format = "mp4" if str(path).endswith(".m4a") else None
    with av.open(str(path), "w", format=container_format) as container:
        audio = _add_sound(container, codec, rate_hz, len(sound))
        if cover is not None:
            picture = container.add_stream("mjpeg")
            picture.width, picture.height, picture.pix_fmt = 64, 48, "yuvj420p"
            picture.disposition = Disposition.attached_pic
            packet = av.Packet(cover)
            packet.stream, packet.pts, packet.dts = picture, 0, 0
            packet.time_base = fractions.Fraction(1, FRAME_RATE)
            packet.is_keyframe = True
            container.start_encoding()
            container.mux(packet)
        for packet in _encode_sound(audio, sound, rate_hz, 0.0):
            container.mux(packet)


def _add_sound(container, codec, rate_hz, channels):
    layout = LAYOUTS[channels]
    options = {"strict": "experimental"} if codec == "vorbis" else {}
    return container.add_stream(codec, rate=rate_hz, layout=layout, options=options)


def _encode_sound(audio, sound, rate_hz, begins_s):
    packets = []
    for start in range(0, sound.shape[1], 1024):
        # Interleaved: PyAV cannot make planes of more than seven channels.
        chunk = np.ascontiguousarray(sound[:, start : start + 1024].T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(chunk, format="flt", layout=LAYOUTS[len(sound)])
        frame.sample_rate = rate_hz
        frame.pts = start + round(begins_s * rate_hz)
        frame.time_base = fractions.Fraction(1, rate_hz)
        packets += audio.encode(frame)
    return packets + audio.encode(None)


def write_wav(path, sound, rate_hz=16_000):
    """Writes float32 `[1, samples]` as 16-bit mono."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes((sound[0] * 32767).round().astype("<i2").tobytes())


def write_image(path, value, width=64, height=48):
    """Writes an evenly grey image: a brightness, or an array `[height, width]` of them."""
    grey = np.broadcast_to(np.uint8(value), (height, width))
    array = np.ascontiguousarray(np.repeat(grey[..., None], 3, axis=-1))
    frame = av.VideoFrame.from_ndarray(array, format="rgb24")
    codec = IMAGES["a." + str(path).rsplit(".", 1)[1]]
    with av.open(str(path), "w", format="image2", options={"update": "1"}) as container:
        image = container.add_stream(codec, rate=1)
        formats = [item.name for item in image.codec_context.codec.video_formats]
        image.width, image.height = width, height
        wanted = ("rgb24", "bgr24", "yuvj444p", "yuv420p")
        image.pix_fmt = next(name for name in wanted if name in formats)
        if codec == "mjpeg":
            image.codec_context.qmin = image.codec_context.qmax = 1
        for packet in [*image.encode(frame), *image.encode(None)]:
            container.mux(packet)
