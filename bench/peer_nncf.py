# SPDX-License-Identifier: Apache-2.0
"""NNCF on the same model and pictures, as a process of its own: peer_nncf.py MODEL.pb PICTURES.npy"""

import sys

import nncf
import numpy as np
import openvino as ov

model = ov.convert_model(sys.argv[1], input=[1, 224, 224, 3])
pictures = np.load(sys.argv[2], mmap_mode="r")
dataset = nncf.Dataset(range(len(pictures)), lambda i: np.ascontiguousarray(pictures[i : i + 1]))
quantized = nncf.quantize(model, dataset, subset_size=len(pictures))
ov.save_model(quantized, "peer_nncf.xml")
