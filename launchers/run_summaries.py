"""What a run's folder holds, as the pages and figures about runs take it."""

from launchers.runs import RunFolder
from ogm_tf.analysis.summaries import RunSummary


def summarize(folder: RunFolder) -> RunSummary:
    """Returns the summary of a run that has finished an epoch, named as its folder is."""
    config = folder.read_config()
    return RunSummary(
        name=folder.path.name,
        modulation=config["modulation"],
        config=config,
        history=folder.read_history(),
        metrics=folder.read_metrics(),
        best_epoch=folder.read_state()["best_epoch"],
    )
