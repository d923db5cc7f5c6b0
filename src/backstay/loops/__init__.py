"""Calls that repeat themselves: one key, one model, and what is asked nearly the same again and again."""

from backstay.loops.config import LoopConfig
from backstay.loops.detector import Detector
from backstay.loops.likeness import likeness
from backstay.loops.loops import Loops
from backstay.loops.types import Loop, LoopRule, OnLoop

__all__ = ["Detector", "Loop", "LoopConfig", "LoopRule", "Loops", "OnLoop", "likeness"]
