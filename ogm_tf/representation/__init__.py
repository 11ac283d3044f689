"""Representation learning: networks that learn from which sounds and pictures belong together.

`l3_net.build`, `avsa.build` and `avca.build` make the three networks of the OGM-GE paper's
supplement, in full size and small; `PairModel` trains them, with positive and negative pairs
balanced, and `probe` says what an encoder has learned.
"""

from ogm_tf.representation import avca, avsa, l3_net, pooling, probe
from ogm_tf.representation.network import Network
from ogm_tf.representation.pair_model import PairModel

__all__ = ["Network", "PairModel", "avca", "avsa", "l3_net", "pooling", "probe"]
