"""Owns the benchmark: what Backstay adds to a call, beside the same upstream without it, in the same run."""
