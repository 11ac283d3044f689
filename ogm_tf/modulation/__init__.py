"""Ways to balance modalities: OGM-GE, as functions and as a method, and others beside it."""

from ogm_tf.modulation.agm import AGM
from ogm_tf.modulation.branches import modulated_names
from ogm_tf.modulation.combination import Combination
from ogm_tf.modulation.discrepancy import coefficients, discrepancy_ratios
from ogm_tf.modulation.gblend import GBlend
from ogm_tf.modulation.interface import Modulation, Step
from ogm_tf.modulation.mmpareto import MMPareto
from ogm_tf.modulation.noise import gradient_noise, gradient_noise_stddev
from ogm_tf.modulation.ogm import OGM, OGMGE
from ogm_tf.modulation.opm import OPM
from ogm_tf.modulation.pair_groups import scale_rows
from ogm_tf.modulation.pmr import PMR
from ogm_tf.modulation.scores import (
    correct_predictions,
    true_class_probabilities,
    true_class_scores,
)
from ogm_tf.modulation.unimodal import Unimodal
