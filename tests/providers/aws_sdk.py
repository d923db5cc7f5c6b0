"""Owns AWS's own client, signer and parser as the tests use them: they have no types, so they are loaded by name."""

import importlib
from typing import Any

boto3: Any = importlib.import_module("boto3")
auth: Any = importlib.import_module("botocore.auth")
awsrequest: Any = importlib.import_module("botocore.awsrequest")
config: Any = importlib.import_module("botocore.config")
credentials: Any = importlib.import_module("botocore.credentials")
eventstream: Any = importlib.import_module("botocore.eventstream")
exceptions: Any = importlib.import_module("botocore.exceptions")
session: Any = importlib.import_module("botocore.session")


def service_model() -> Any:
    """Return AWS's own description of Bedrock's runtime."""
    return session.get_session().get_service_model("bedrock-runtime")
