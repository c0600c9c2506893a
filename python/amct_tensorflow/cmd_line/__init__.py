# SPDX-License-Identifier: Apache-2.0
"""The command line `amct_tensorflow`: calibration and conversion without a script."""
