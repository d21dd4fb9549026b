"""What the processes that commands are forked from have imported already: matx, its components, and what they use."""

import jsonschema  # noqa: F401
import sklearn.datasets  # noqa: F401

from matx import plugins

plugins.import_all()
