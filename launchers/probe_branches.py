"""What each encoder of a run knows of the run's own classes, beside what its branch answers.

  python -m launchers.probe_branches --run_dir=runs/mine

The best model's encoders describe the clips of all splits, as in evaluation and with the run's own
noise, and a linear classifier is fitted to what each of them says of the training clips. It shares
nothing with the network's head: an encoder whose probe is much better than its branch knows what
the network does not use, and one whose probe is bad has not learned. What it could have learned,
`launchers.references` finds. `launchers.probe` asks sound encoders about sounds of other kinds.

Prints the accuracies and writes them to the run's branches.json, which `launchers.report` shows.
"""

import dataclasses
import math
import pathlib
from typing import Any

import numpy as np
from absl import logging

from input_pipelines import dataset
from input_pipelines.index import read_index
from launchers import provenance, run_encoders
from launchers.runs import RunFolder, write_json
from launchers.settings import LauncherSettings, launch, positive, setting
from ogm_tf import OGMModel
from ogm_tf.analysis.tables import Table
from ogm_tf.representation import branch_probe, probe

FILE = "branches.json"
# In the order of the columns.
_SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class ProbeBranchesSettings(LauncherSettings):
    """Settings of `probe_branches`."""

    run_dir: str = setting(dataclasses.MISSING, "Folder of a run of `train`.")
    c_values: tuple[float, ...] = setting(
        probe.COSTS,
        "Values of C, the classifier's strength, to choose from inside the training split.",
        rule="one or more numbers > 0",
        holds=lambda values: bool(values) and all(0 < value < math.inf for value in values),
    )
    max_train_clips: int | None = positive(
        None, "Training clips, at most, that the classifier learns from; by default all."
    )
    seed: int = setting(
        0, "Of the training clips that C is chosen on.",
        rule="in [0, 2**31)", holds=lambda value: 0 <= value < 2**31,
    )  # fmt: skip
    batch_size: int = positive(64, "Clips at a time.")


def run(settings: ProbeBranchesSettings) -> dict[str, Any]:
    """Probes every encoder of a run; writes, prints and returns what it found."""
    folder = RunFolder(pathlib.Path(settings.run_dir))
    if folder.launcher != "train":
        raise ValueError(
            "Branches are those of a run of `train`. "
            f"Received: {folder.path}, a run of {folder.launcher}."
        )
    index = read_index(folder.records_dir)
    best_epoch = folder.read_state().get("best_epoch")
    model = folder.load_best()
    encoders = {
        name: run_encoders.encoder_of(model, folder, index.input_settings, name)
        for name in model.encoders
    }
    config = folder.read_config()
    describe = branch_probe.describer(encoders)
    described = {}
    for split in _SPLITS:
        if split in index.splits:
            logging.info("Reading the %s split.", split)
            data = dataset.eval_dataset(
                config["records_dir"],
                split,
                settings.batch_size,
                audio_noise_snr_db=config["audio_noise_snr_db"],
                removed=config["remove_modality"],
                limit_clips=(settings.max_train_clips or 0) if split == "train" else 0,
            )
            described[split] = describe(data.dataset)
    labels = {split: part.labels for split, part in described.items()}
    answers = {split: _answers(model, part.features) for split, part in described.items()}
    report = {
        "best_epoch": best_epoch,
        "made": provenance.describe("probe_branches", settings),
        "c_values": settings.c_values,
        "seed": settings.seed,
        "num_clips": {split: len(own) for split, own in labels.items()},
        "num_classes": len(index.class_names),
        "fused": {split: _accuracy(answers[split]["fused"], labels[split]) for split in labels},
        "modalities": {},
    }
    for name in encoders:
        features = {split: part.features[name] for split, part in described.items()}
        num_features = features["train"].shape[1]
        logging.info("Probing %s: %d features.", name, num_features)
        found = branch_probe.probe_splits(
            features, labels, costs=settings.c_values, seed=settings.seed
        )
        report["modalities"][name] = {
            "num_features": num_features,
            "c": found.cost,
            "probe": found.accuracies,
            "branch": {split: _accuracy(answers[split][name], labels[split]) for split in labels},
        }
    write_json(folder.path / FILE, report)
    print(as_table(report).as_text())
    logging.info("Wrote %s.", folder.path / FILE)
    return report


def as_table(report: dict[str, Any]) -> Table:
    """Returns the accuracies of a report: each encoder's probe and branch, and the fused network's.

    Args:
      report: What `run` returns.
    """
    splits = list(report["num_clips"])
    rows = [
        (f"{name}, {kind}", *(f"{own[kind][split]:.3f}" for split in splits))
        for name, own in report["modalities"].items()
        for kind in ("probe", "branch")
    ]
    rows.append(("fused", *(f"{report['fused'][split]:.3f}" for split in splits)))
    return Table("Accuracy", ("", *splits), tuple(rows))


def _answers(model: OGMModel, features: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the logits of the fused network and of each branch, of features of all encoders."""
    fused, unimodal = model.fusion([features[name] for name in model.encoders])
    parts = dict(zip(model.encoders, unimodal, strict=True))
    return {name: np.asarray(logits) for name, logits in {"fused": fused, **parts}.items()}


def _accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean(logits.argmax(axis=-1) == labels))


if __name__ == "__main__":
    launch(ProbeBranchesSettings, run)
