"""The simulated market: people with a known truth who visit, buy, hear and leave.

Belongs here: everything a source would report about such people, as files. Does not belong
here: the providers' wire formats towards the loop (stand-ins), real orders (orders companion).
"""

from sandbox.market.story import found, live, truth_folder

__all__ = ["found", "live", "truth_folder"]
