# SPDX-License-Identifier: Apache-2.0
"""What evaluators of the original import."""
