"""``python -m quantsmith``: the command."""

import sys

from . import _main

sys.exit(_main())
