# SPDX-License-Identifier: Apache-2.0
"""Modules under the names that scripts of the original import."""
