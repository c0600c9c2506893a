# SPDX-License-Identifier: Apache-2.0
"""python -m amct_tensorflow"""

import sys

from .cmd_line.command import main

if __name__ == "__main__":
    sys.exit(main())
