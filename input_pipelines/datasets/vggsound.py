"""VGGSound: 309 classes of sounding things, about 200,000 clips of 10 s from
YouTube.

Where to get it: https://www.robots.ox.ac.uk/~vgg/data/vggsound/ has the
list vggsound.csv; the videos come from YouTube or from a copy. Every copy
lacks some, for videos are taken down.

The folder it expects (videos may also lie in `data_dir` itself, or one
folder deeper than here; .mkv, .webm and .avi will do):

  <data_dir>/vggsound.csv
  <data_dir>/video/---g-f_I2yQ_000001.mp4

List: `youtube_id,start_seconds,label,split` without a header; labels with
commas are quoted. A video may be named, for a clip that starts after 30 s,
id_30, id_000030 or, in milliseconds from start to end, id_30000_40000.
Clips are called id_000030 in every case.

Splits: train and test as listed. There is no validation split:
`--validation_fraction` holds out a part of train.

Classes: in the order in which labels first appear in the train rows,
missing videos included, so that the order is the same for every copy. (The
authors number them by the videos they have.)

A clip whose video is not there is listed as missing; so is a line that
lists a clip again, of which the first counts.

Preset: launchers/presets/vggsound.flags (5 s at random, 129 x 626, three
frames).
"""

from input_pipelines import files
from input_pipelines.datasets import layouts
from input_pipelines.listing import Listing

LIST = "vggsound.csv"
SPLITS = ("train", "test")
SUFFIXES = (".mp4", ".mkv", ".webm", ".avi")
EXPECTED = f"{LIST} and <id>_<start>.mp4 in this folder or in folders below it"
CLIP_S = 10


def list_clips(data_dir: files.Path, fold: int | None = None) -> Listing:
    """Lists the clips.

    Args:
      data_dir: Folder described above.
      fold: None; there are no folds.

    Raises:
      FileNotFoundError: where the folder, the list or all media are missing.
      ValueError: where the list has a wrong line, or a test label that is not in train.
    """
    layouts.refuse_fold(fold, "VGGSound")
    root = layouts.find_root(data_dir, EXPECTED)
    rows = [(f"{LIST}, line {number}", cells) for number, cells in layouts.read_rows(root, LIST)]
    for place, cells in rows:
        if not (len(cells) == 4 and all(cells) and cells[1].isdecimal() and cells[3] in SPLITS):
            raise ValueError(
                "A line must be `youtube_id,start_seconds,label,split`, a label with commas in "
                f"quotes, the split train or test. Received: {place}: {cells}."
            )
    class_names = tuple(dict.fromkeys(cells[2] for _, cells in rows if cells[3] == "train"))
    known = set(class_names)
    videos = layouts.find_media(root, SUFFIXES, depth=2)
    builder = layouts.ListingBuilder(root, EXPECTED)
    for place, (video_id, start, label, split) in rows:
        if label not in known:
            raise ValueError(f"A label must be one of train. Received: {place}: label={label!r}.")
        names = _names(video_id, int(start))
        if builder.repeats(place, names[0], split):
            continue
        path = next((videos[name] for name in names if name in videos), None)
        reason = "" if path else f"no {' or '.join(names)} with {', '.join(SUFFIXES)}"
        builder.add(place, names[0], split, label, {"path": path}, reason)
    return builder.build(class_names)


def _names(video_id: str, start_s: int) -> tuple[str, str, str]:
    """Returns the names a clip's video may have; the first is also the clip's."""
    return (
        f"{video_id}_{start_s:06d}",
        f"{video_id}_{start_s}",
        f"{video_id}_{start_s * 1000}_{(start_s + CLIP_S) * 1000}",
    )
