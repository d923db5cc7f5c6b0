"""Owns the words by which a model is asked to go on with an answer that was cut off."""

CONTINUE = (
    "Your last message was cut off by a broken connection. Go on exactly where it stopped: begin with the very next "
    "character, repeat nothing of it, and add nothing else."
)
