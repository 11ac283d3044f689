"""UCF-101: 101 actions, 13,320 videos, as pictures and optical flow.

Videos are of about 7 s; their sound is not used.

Where to get it: the videos UCF101.rar and the lists
UCF101TrainTestSplits-RecognitionTask.zip from
https://www.crcv.ucf.edu/data/UCF101.php; the optical flow
ucf101_tvl1_flow.zip (and the videos as frames, ucf101_jpegs_256.zip) from
https://github.com/feichtenhofer/twostreamfusion.

The folder it expects (pictures from UCF-101, or where a video is not there
from jpegs_256):

  <data_dir>/ucfTrainTestlist/classInd.txt
  <data_dir>/ucfTrainTestlist/trainlist01.txt, and so on to 03
  <data_dir>/ucfTrainTestlist/testlist01.txt, and so on to 03
  <data_dir>/UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi
  <data_dir>/jpegs_256/v_ApplyEyeMakeup_g08_c01/frame000001.jpg
  <data_dir>/tvl1_flow/u/v_ApplyEyeMakeup_g08_c01/frame000001.jpg
  <data_dir>/tvl1_flow/v/v_ApplyEyeMakeup_g08_c01/frame000001.jpg

Lists: classInd.txt has `1 ApplyEyeMakeup`, numbered from 1; trainlist
`Class/v_X.avi 1`; testlist the same without the number.

Folds: the three published splits, `--dataset_fold=1` to 3 (by default 1),
each of train and test. There is no validation split, and
`--validation_fraction` would part videos of one recording.

Classes: in the order of classInd.txt.

A clip that lacks its pictures, its horizontal (u) or its vertical (v) flow
is listed as missing. Names are found whatever their case: HandStandPushups
is written in two ways.

Preset: launchers/presets/ucf101.flags (pictures and flow, three frames
each).
"""

from input_pipelines import files
from input_pipelines.datasets import layouts
from input_pipelines.listing import Listing

LISTS_FOLDER = "ucfTrainTestlist"
CLASSES = f"{LISTS_FOLDER}/classInd.txt"
NUM_FOLDS = 3
EXPECTED = (
    f"{LISTS_FOLDER}/, UCF-101/<Class>/v_X.avi or jpegs_256/v_X/, tvl1_flow/u/v_X/ and "
    "tvl1_flow/v/v_X/"
)


def list_clips(data_dir: files.Path, fold: int | None = None) -> Listing:
    """Lists the clips.

    Args:
      data_dir: Folder described above.
      fold: Of the published splits, 1 to 3; None: 1.

    Raises:
      FileNotFoundError: where the folder, a list or all media are missing.
      ValueError: where the fold is unknown or a list has a wrong line or a clip twice.
    """
    fold = layouts.check_fold(fold, NUM_FOLDS)
    root = layouts.find_root(data_dir, EXPECTED)
    class_names = _read_classes(root)
    rows = []
    for split in ("train", "test"):
        name = f"{LISTS_FOLDER}/{split}list{fold:02d}.txt"
        for number, line in layouts.read_lines(root, name):
            place = f"{name}, line {number}"
            rows.append((place, split, *_parse(place, line, class_names)))
    media = {
        "pictures": _find_folders(root, "jpegs_256") | _find_videos(root),
        "horizontal flow": _find_folders(root, "tvl1_flow/u"),
        "vertical flow": _find_folders(root, "tvl1_flow/v"),
    }
    builder = layouts.ListingBuilder(root, EXPECTED)
    for place, split, label, clip_id in rows:
        found = {kind: paths.get(clip_id.casefold()) for kind, paths in media.items()}
        lacking = [kind for kind, path in found.items() if path is None]
        reason = f"no {' and no '.join(lacking)} of {clip_id}" if lacking else ""
        names = ("path", "flow_x_path", "flow_y_path")
        paths = dict(zip(names, found.values(), strict=True))
        # v_Archery_g08_c01: the first clip of the eighth recording.
        group = clip_id.rpartition("_c")[0]
        builder.add(place, clip_id, split, label, paths, reason, group)
    return builder.build(class_names)


def _read_classes(root: str) -> list[str]:
    class_names = []
    for number, line in layouts.read_lines(root, CLASSES):
        fields = line.split()
        if len(fields) != 2 or fields[0] != str(len(class_names) + 1):
            raise ValueError(
                "A line must be `number Class`, numbered from 1. Received: "
                f"{CLASSES}, line {number}: {line!r}."
            )
        class_names.append(fields[1])
    return class_names


def _parse(place: str, line: str, class_names: list[str]) -> tuple[str, str]:
    """Returns the class and the name of the video of one line."""
    path, *number = line.split()
    label, _, video = path.partition("/")
    right = label in class_names and video and len(number) <= 1
    if right and number:
        right = number[0] == str(class_names.index(label) + 1)
    if not right:
        raise ValueError(
            "A line must be `Class/v_X.avi`, and in a train list the class's number, as "
            f"{CLASSES} has them. Received: {place}: {line!r}."
        )
    return label, video.removesuffix(files.suffix(video))


def _find_folders(root: str, folder: str) -> dict[str, str]:
    """Returns the folders of frames inside a folder by their names in lower case."""
    folder = files.join(root, folder)
    names = (name for name in files.names_in(folder) if not files.suffix(name))
    return {name.casefold(): files.join(folder, name) for name in names}


def _find_videos(root: str) -> dict[str, str]:
    """Returns the videos by their names in lower case."""
    videos = layouts.find_media(files.join(root, "UCF-101"), (".avi",), depth=1)
    return {name.casefold(): path for name, path in videos.items()}
