"""`python -m matx`."""

import sys

from matx.cli import main

sys.exit(main())
