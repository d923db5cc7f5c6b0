"""Bare pass-throughs: the least that a gateway in Python can cost, with nothing that a gateway is for."""
