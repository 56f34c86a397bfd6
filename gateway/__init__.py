"""The HTTP front: events and webhooks in, answers about persons, unsubscribing.

Belongs here: what speaks HTTP to the outside, and the landing log it writes before it answers.
Keep out: reading what was landed (`ingestion`), rules about who may hear what (`activations`).
"""
