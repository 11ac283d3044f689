"""OGM-GE for Keras: multimodal networks whose weak modality is trained too.

`OGMModel` is a `keras.Model`; see its docstring for an example.
"""

import sys as _sys

import keras as _keras

from ogm_tf.compatibility import require_supported as _require_supported

_require_supported(_sys.version_info, _keras.__version__)

# Everything below needs the versions that were just checked.
from ogm_tf import (  # noqa: E402
    callbacks,
    checkpoints,
    confidence,
    encoders,
    fusion,
    gradient_blending,
    layers,
    localization,
    metrics,
    modulation,
    optimizers,
    representation,
    serving,
    transfer,
)
from ogm_tf.model import OGMModel  # noqa: E402
from ogm_tf.modulation import OGM, OGMGE  # noqa: E402
from ogm_tf.version import __version__  # noqa: E402

__all__ = [
    "OGM",
    "OGMGE",
    "OGMModel",
    "__version__",
    "callbacks",
    "checkpoints",
    "confidence",
    "encoders",
    "fusion",
    "gradient_blending",
    "layers",
    "localization",
    "metrics",
    "modulation",
    "optimizers",
    "representation",
    "serving",
    "transfer",
]
