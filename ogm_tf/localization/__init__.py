"""Audio-visual event localisation: which event each segment of a video holds, or that it has none.

`agva.build`, `dmrn.build` and `psp.build` make the networks, in full size and small, as `OGMModel`s
whose branches the modulation balances; `losses` and `metrics` train and judge them.
"""

from ogm_tf.localization import agva, dmrn, losses, metrics, psp
from ogm_tf.localization.agva import AGVA
from ogm_tf.localization.dmrn import DMRN
from ogm_tf.localization.event_model import EventModel
from ogm_tf.localization.psp import PSP

__all__ = ["AGVA", "DMRN", "PSP", "EventModel", "agva", "dmrn", "losses", "metrics", "psp"]
