"""Signing for AWS: the same bytes as AWS's own client, credentials found and renewed without holding the loop up."""

import asyncio
import datetime
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import aws_sdk
import pytest

from backstay.core.errors import ConfigError, ProviderError
from backstay.providers import ProviderConfig, ProviderRequest
from backstay.providers.aws import RETRY_AFTER_S, AwsSigner
from backstay.providers.http import HttpProvider, open_session
from backstay.providers.registry import build_provider

KEY_ID, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
NOW = datetime.datetime(2026, 11, 24, 12, 0, 0, tzinfo=datetime.UTC)
ARN = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-opus-5"

RECORDED = (
    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261124/us-east-1/bedrock/aws4_request, "
    "SignedHeaders=content-type;host;x-amz-date, "
    "Signature=63f7234ca1ad757b1756731932a8c43952d8e96427699f7c9df3c9dd0c5146d4"
)
"""Of ``test_a_signature_stays_the_same``, as boto3 1.44.8 gave it (2026-11)."""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No credentials but those of a test, no machine to ask, and time that stands still."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


@pytest.fixture
def in_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


def _stop_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def now(remove_tzinfo: bool = True) -> datetime.datetime:
        return NOW.replace(tzinfo=None) if remove_tzinfo else NOW

    monkeypatch.setattr(aws_sdk.auth, "get_current_datetime", now)


def _what_boto_sends(model_id: str, token: str | None) -> Any:
    """Let AWS's own client prepare a call and stop it before it leaves."""
    sent: list[Any] = []

    def stop(request: Any, **_: Any) -> Any:
        sent.append(request)
        raise RuntimeError("far enough")

    client: Any = aws_sdk.boto3.Session().client(
        "bedrock-runtime", region_name="us-east-1", aws_access_key_id=KEY_ID, aws_secret_access_key=SECRET,
        aws_session_token=token,
    )  # fmt: skip
    with closing(client):
        client.meta.events.register("before-send.*", stop)
        with pytest.raises(RuntimeError, match="far enough"):
            client.converse(modelId=model_id, messages=[{"role": "user", "content": [{"text": "hi"}]}])
    return sent[0]


@pytest.mark.parametrize("token", [None, "FwoGZXIvYXdzEBYaD//session"])
@pytest.mark.parametrize("model_id", ["anthropic.claude-3-haiku-20240307-v1:0", ARN])
async def test_requests_are_those_of_awss_own_client(
    monkeypatch: pytest.MonkeyPatch, in_environment: None, model_id: str, token: str | None
) -> None:
    """Address and signature are what boto3 sends for the same call at the same moment, letter by letter."""
    _stop_time(monkeypatch)
    if token is not None:
        monkeypatch.setenv("AWS_SESSION_TOKEN", token)
    expected = _what_boto_sends(model_id, token)
    async with open_session() as session:
        config = ProviderConfig(dialect="bedrock", region="us-east-1")
        provider = build_provider("aws", config, session=session, environ={})
        assert isinstance(provider, HttpProvider)
        url = str(provider.url_of(ProviderRequest(operation="chat", model_id=model_id, body=b"")))
    headers = await AwsSigner("aws", region="us-east-1").sign(url, expected.body)
    assert url == expected.url
    wanted = {name.lower(): _text(value) for name, value in expected.headers.items()}
    assert headers == {name: wanted[name] for name in headers}
    assert ("x-amz-security-token" in headers) == (token is not None)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


async def test_a_signature_stays_the_same(monkeypatch: pytest.MonkeyPatch, in_environment: None) -> None:
    """A recorded request has its recorded signature, whichever botocore is installed; long bodies are signed alike."""
    _stop_time(monkeypatch)
    signer = AwsSigner("aws", region="us-east-1")
    url = "https://bedrock-runtime.us-east-1.amazonaws.com/model/amazon.nova-lite-v1%3A0/converse"
    assert (await signer.sign(url, b"{}"))["authorization"] == RECORDED
    monkeypatch.setattr("backstay.providers.aws.LONG_BODY_BYTES", 1)
    assert (await signer.sign(url, b"{}"))["authorization"] == RECORDED


async def test_profiles_are_read(tmp_path: Path) -> None:
    """A named profile of the shared files signs."""
    (tmp_path / "credentials").write_text(f"[acme]\naws_access_key_id = AKIDACME\naws_secret_access_key = {SECRET}\n")
    headers = await AwsSigner("aws", region="eu-west-1", profile="acme").sign("https://example.com/", b"{}")
    assert "Credential=AKIDACME/" in headers["authorization"]
    with pytest.raises(ProviderError, match=r"got no AWS credentials: .*\(nobody\)") as error:
        await AwsSigner("aws", region="eu-west-1", profile="nobody").sign("https://example.com/", b"{}")
    assert error.value.kind == "authentication"


async def test_without_credentials_a_call_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to set; the search, which may be slow, is not made for every call, but made again."""
    signer = AwsSigner("aws", region="us-east-1")
    with pytest.raises(ProviderError, match=r"has no AWS credentials\. Set AWS_ACCESS_KEY_ID") as error:
        await signer.sign("https://example.com/", b"{}")
    assert (error.value.kind, error.value.retryable) == ("authentication", False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with pytest.raises(ProviderError, match="has no AWS credentials"):
        await signer.sign("https://example.com/", b"{}")
    later = time.monotonic() + RETRY_AFTER_S
    monkeypatch.setattr("backstay.providers.aws.time", type("Later", (), {"monotonic": lambda: later}))
    assert KEY_ID in (await signer.sign("https://example.com/", b"{}"))["authorization"]


class Role:
    """Credentials of a role: each renewal takes a while, blocks, and may fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, good_for_s: float):
        self.renewals = 0
        self.good_for_s = good_for_s
        self.fails = False
        self.renewed = threading.Event()
        module: Any = aws_sdk.credentials
        self._made: Any = module.RefreshableCredentials.create_from_metadata(self._metadata(), self._renew, "role")
        monkeypatch.setattr(aws_sdk.session.Session, "get_credentials", self._found)

    def _found(self, *_: Any) -> Any:
        return self._made

    def _metadata(self) -> dict[str, str]:
        expiry = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=self.good_for_s)
        return {
            "access_key": f"AKID{self.renewals}", "secret_key": SECRET, "token": "t", "expiry_time": expiry.isoformat()
        }  # fmt: skip

    def _renew(self) -> dict[str, str]:
        time.sleep(0.2)
        if self.fails:
            error: Any = aws_sdk.exceptions.MetadataRetrievalError
            raise error(error_msg="the role is gone")
        self.renewals += 1
        self.good_for_s = 3600
        self.renewed.set()
        return self._metadata()


async def _key(signer: AwsSigner) -> str:
    headers = await signer.sign("https://example.com/", b"{}")
    return headers["authorization"].partition("Credential=")[2].partition("/")[0]


async def test_expired_credentials_are_renewed_once_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that need new credentials wait for one renewal together, and the loop goes on meanwhile."""
    role = Role(monkeypatch, good_for_s=1)
    signer = AwsSigner("aws", region="us-east-1")
    ticks = asyncio.create_task(_tick())
    assert await asyncio.gather(*(_key(signer) for _ in range(20))) == ["AKID1"] * 20
    assert role.renewals == 1
    assert not ticks.done()
    ticks.cancel()


async def _tick() -> None:
    """Fail if the event loop is held up."""
    while True:
        began = time.monotonic()
        await asyncio.sleep(0.01)
        assert time.monotonic() - began < 0.15, "the event loop was held up"


async def test_calls_go_on_while_credentials_are_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some minutes before the end calls are signed with the old credentials until the new ones are there."""
    monkeypatch.setattr("backstay.providers.aws.RETRY_AFTER_S", 0.0)
    role = Role(monkeypatch, good_for_s=3600)
    signer = AwsSigner("aws", region="us-east-1")
    assert await _key(signer) == "AKID0"
    _age(signer, left_s=780)
    assert [await _key(signer) for _ in range(3)] == ["AKID0"] * 3
    await asyncio.wait_for(asyncio.to_thread(role.renewed.wait), 5)
    await asyncio.sleep(0.05)
    assert await _key(signer) == "AKID1"


async def test_a_failed_renewal_hurts_nobody_before_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A role that cannot be renewed is an error only once its credentials are no good any more."""
    monkeypatch.setattr("backstay.providers.aws.RETRY_AFTER_S", 0.0)
    role = Role(monkeypatch, good_for_s=3600)
    signer = AwsSigner("aws", region="us-east-1")
    await _key(signer)
    role.fails = True
    _age(signer, left_s=780)
    assert await _key(signer) == "AKID0"
    _age(signer, left_s=-1)
    with pytest.raises(ProviderError, match="the role is gone") as error:
        await _key(signer)
    assert error.value.retryable
    role.fails = False
    assert await _key(signer) == "AKID1"


def _age(signer: AwsSigner, *, left_s: float) -> None:
    credentials: Any = vars(signer)["_credentials"]
    credentials._expiry_time = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=left_s)


async def test_a_region_is_needed() -> None:
    """The configuration's, else the environment's; without one the error says what to set."""
    async with open_session() as session:
        with pytest.raises(ConfigError, match=r"providers\.aws: It needs a region"):
            build_provider("aws", ProviderConfig(dialect="bedrock"), session=session, environ={})
        environ = {"AWS_DEFAULT_REGION": "eu-central-1"}
        provider = build_provider("aws", ProviderConfig(dialect="bedrock"), session=session, environ=environ)
        assert isinstance(provider, HttpProvider)
        assert provider.server_address == "bedrock-runtime.eu-central-1.amazonaws.com"


def test_nobody_else_pays_for_botocore() -> None:
    """Importing Backstay's providers does not load it."""
    code = "import sys, backstay.providers; sys.exit(any(name.startswith('botocore') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
