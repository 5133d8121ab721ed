"""What durability costs here, against the same written by hand and against raw MongoDB.

``python -m benchmarks`` runs everything on one pair of servers, in interleaved rounds, and prints
ratios: on a busy machine they mean something where single times do not.
"""
