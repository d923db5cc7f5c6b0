"""Owns the corners of what a token can be billed as: the usages among which a call's dearest is found. Pure."""

from collections.abc import Iterator
from itertools import product

from backstay.core.usage import Usage


def input_corners() -> Iterator[Usage]:
    """Give every kind that one token of input can be.

    A cost is convex in the counts, and within one tier of length in proportion to them: it is dearest at a corner of
    what the counts may be. They may be anything with read + written ≤ input, one hour ≤ written, audio + images ≤
    input, and cached audio ≤ read and ≤ audio, as cached images. The matrix of these is totally unimodular, so that at
    each corner all tokens are of one kind: of those below. Guarded by test_no_call_costs_more_than_the_most.
    """
    for read, written, one_hour in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 1, 1)):
        for audio, image in ((0, 0), (1, 0), (0, 1)):
            for cached in range(1 + min(read, audio + image)):
                yield Usage(
                    input_tokens=1,
                    cache_read_tokens=read,
                    cache_write_tokens=written,
                    cache_write_1h_tokens=one_hour,
                    input_audio_tokens=audio,
                    cache_audio_read_tokens=cached * audio,
                    input_image_tokens=image,
                    cache_image_read_tokens=cached * image,
                )


def output_corners() -> Iterator[Usage]:
    """Give every kind that one token of output can be; a provider may report one token as two of them."""
    for reasoning, audio, image, citation in product((0, 1), repeat=4):
        yield Usage(
            output_tokens=1,
            reasoning_tokens=reasoning,
            output_audio_tokens=audio,
            output_image_tokens=image,
            citation_tokens=citation,
        )


def search_corners() -> Iterator[Usage]:
    """Give every kind that a search of the provider's own can be."""
    yield Usage(web_searches=1)
    yield Usage(storage_searches=1)
