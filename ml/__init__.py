"""The judging room: frames in; frames, models and figures out.

Belongs here: what the data say about a person, a channel or a budget, and how sure we are.
Keep out: the warehouse, orchestration, the clock, the network, the environment and whom to
message. Time, seeds and folders are arguments.
"""
