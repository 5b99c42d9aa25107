"""python -m nst_stream"""

import sys

from . import main

sys.exit(main())
