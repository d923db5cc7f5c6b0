"""Owns the names under which the public price list may know a model, where its provider's own name is another. Pure."""

import re
from collections.abc import Iterator

_REGIONAL = re.compile(r"^(?:us|us-gov|eu|apac|jp|au|ca|in|sa|me|af)\.(?=[a-z0-9-]+\.)")
"""The geography at the beginning of an inference profile's id.

A geography's profile costs what the model costs in a region of it; ``global.`` profiles are cheaper and listed apart.
Source: https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html (2026-11).
"""


def names_on_the_list(provider_id: str, model_id: str) -> Iterator[str]:
    """Give the names to look for, best first.

    Amazon Bedrock (``aws``) takes ARNs, of which the last part is the model's or the inference profile's id, and ids of
    inference profiles, which are the model's after a geography. The ids of application profiles say nothing: those
    stay unknown until ``price_as`` names their model.
    """
    yield model_id
    if provider_id != "aws":
        return
    own = model_id.rpartition("/")[2]
    if own != model_id:
        yield own
    regional = _REGIONAL.sub("", own)
    if regional != own:
        yield regional
