"""Which target is asked, in which order, how often, and what an outcome changes.

Pure: every function takes `now`, and `rng` where chance is wanted. Mutation lives in `health`,
`balance` and `budget` only.
"""
