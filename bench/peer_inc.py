# SPDX-License-Identifier: Apache-2.0
"""Neural Compressor on the same model and pictures, as a process of its own: peer_inc.py MODEL.pb PICTURES.npy"""

import os
import sys

os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"

import numpy as np
from neural_compressor import PostTrainingQuantConfig, quantization

pictures = np.load(sys.argv[2], mmap_mode="r")


class Loader:
    """One picture at a time."""

    batch_size = 1

    def __iter__(self):
        """With a label that nobody looks at."""
        return ((np.ascontiguousarray(pictures[i : i + 1]), 0) for i in range(len(pictures)))


options = PostTrainingQuantConfig(inputs=["input"], outputs=["logits"], calibration_sampling_size=[len(pictures)])
quantized = quantization.fit(sys.argv[1], options, calib_dataloader=Loader())
if quantized is None:  # after an error that it only prints
    raise SystemExit("Neural Compressor made no model")
quantized.save("peer_inc.pb")
