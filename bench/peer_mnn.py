# SPDX-License-Identifier: Apache-2.0
"""MNN on the same model and pictures, as a process of its own: peer_mnn.py MODEL.pb PICTURES.npy

It reads pictures as files: those of the folder beside PICTURES.npy, of the same values. Its functions are called, not its
console scripts, which report home.
"""

import json
import os
import sys

import _tools  # of the package MNN

folder = os.path.splitext(sys.argv[2])[0] + "/"
config = {
    "format": "RGB",
    "mean": [128.0] * 3,
    "normal": [1 / 128.0] * 3,
    "width": 224,
    "height": 224,
    "path": folder,
    "used_image_num": len(os.listdir(folder)),
    "feature_quantize_method": "KL",
    "weight_quantize_method": "MAX_ABS",
}
with open("peer_mnn.json", "w") as file:
    json.dump(config, file)
_tools.mnnconvert(["", "-f", "TF", "--modelFile", sys.argv[1], "--MNNModel", "peer_float.mnn", "--bizCode", "MNN", "--batch", "1"])
_tools.mnnquant(["", "peer_float.mnn", "peer_mnn.mnn", "peer_mnn.json"])
if not os.path.exists("peer_mnn.mnn"):  # it does not say so itself
    raise SystemExit("MNN wrote no model")
