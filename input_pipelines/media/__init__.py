"""Frames and sound out of files of any kind, as much as can be decoded.

Loads no TensorFlow where files are local: the worker processes of `preparation` live here.
"""

from input_pipelines.media.budget import MediaError
from input_pipelines.media.clip import DecodedClip, DecodedFrames, read_clip
