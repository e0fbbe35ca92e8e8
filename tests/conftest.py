"""Property tests draw the same examples every time, however slow the machine.

Set HYPOTHESIS_PROFILE=explore to look for new ones.
"""

import os

from hypothesis import settings

settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=500, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
