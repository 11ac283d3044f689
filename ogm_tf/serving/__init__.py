"""From a trained model, or an encoder of it, to a SavedModel for servers and programs in C.

`export` writes a network that names classes, `export_encoder` an encoder that describes sounds.
"""

from ogm_tf.serving.encoder import EMBEDDING_FILE, export_encoder
from ogm_tf.serving.network import CLASS_NAMES_FILE, TFLITE_FILE, export
from ogm_tf.serving.precision import in_float32

__all__ = [
    "CLASS_NAMES_FILE",
    "EMBEDDING_FILE",
    "TFLITE_FILE",
    "export",
    "export_encoder",
    "in_float32",
]
