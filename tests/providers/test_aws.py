"""Signing for AWS: the same bytes as AWS's own client, credentials found and renewed without holding the loop up."""

import asyncio
import datetime
import hashlib
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import patch

import aws_sdk
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import some
from yarl import URL

from backstay.core.errors import ConfigError, ProviderError
from backstay.providers import Body, ProviderConfig, ProviderRequest
from backstay.providers.aws import RETRY_AFTER_S, SERVICE, AwsSigner
from backstay.providers.http import HttpProvider, open_session
from backstay.providers.paths import PATHS, fill_model
from backstay.providers.registry import build_provider
from backstay.providers.secrets import Secret
from backstay.providers.sigv4 import Credentials, RequestSigner, hash_body

KEY_ID, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
NOW = datetime.datetime(2026, 11, 24, 12, 0, 0, tzinfo=datetime.UTC)
URL_OF_NONE = URL("https://example.com/")
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


class HandSetClock:
    """A clock that stands still unless a test sets it."""

    def __init__(self, now: datetime.datetime = NOW):
        self.now = now
        self.since_start_s = 0.0

    def now_ns(self) -> int:
        return int(self.now.timestamp()) * 1_000_000_000

    def monotonic_ns(self) -> int:
        return int(self.since_start_s * 1e9)


def _botocore_at(now: datetime.datetime) -> Any:
    """Let botocore sign as if it were another time."""

    def get(remove_tzinfo: bool = True) -> datetime.datetime:
        return now.replace(tzinfo=None) if remove_tzinfo else now

    return patch.object(aws_sdk.auth, "get_current_datetime", get)


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
    if token is not None:
        monkeypatch.setenv("AWS_SESSION_TOKEN", token)
    with _botocore_at(NOW):
        expected = _what_boto_sends(model_id, token)
    async with open_session() as session:
        config = ProviderConfig(dialect="bedrock", region="us-east-1")
        provider = build_provider("aws", config, session=session, environ={})
        assert isinstance(provider, HttpProvider)
        url = provider.url_of(ProviderRequest(operation="chat", model_id=model_id, body=b""))
    headers = await AwsSigner("aws", region="us-east-1", clock=HandSetClock()).sign(url, expected.body)
    assert str(url) == expected.url
    wanted = {name.lower(): _text(value) for name, value in expected.headers.items()}
    assert headers == {name: wanted[name] for name in headers}
    assert ("x-amz-security-token" in headers) == (token is not None)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


async def test_a_signature_stays_the_same(monkeypatch: pytest.MonkeyPatch, in_environment: None) -> None:
    """A recorded request has its recorded signature; long bodies, and those in pieces, are signed alike."""
    signer = AwsSigner("aws", region="us-east-1", clock=HandSetClock())
    path = "/model/amazon.nova-lite-v1%3A0/converse"
    url = URL(f"https://bedrock-runtime.us-east-1.amazonaws.com{path}", encoded=True)
    assert (await signer.sign(url, b"{}"))["authorization"] == RECORDED
    assert (await signer.sign(url, (b"{", memoryview(b"}"))))["authorization"] == RECORDED
    monkeypatch.setattr("backstay.providers.aws.LONG_BODY_BYTES", 1)
    assert (await signer.sign(url, b"{}"))["authorization"] == RECORDED


_hosts = st.sampled_from(
    ["https://bedrock-runtime.us-east-1.amazonaws.com", "http://127.0.0.1:4010", "https://a.example:443/some/where",
     "http://[::1]:80", "http://[::1]:4010", "https://vpce-1.example.com/~x"]
)  # fmt: skip
_models = st.text(min_size=1).filter(lambda name: name.strip(".")) | st.sampled_from(
    [ARN, "us.anthropic.claude-opus-5"]
)
_moments = st.datetimes(datetime.datetime(2020, 1, 1), datetime.datetime(2049, 12, 31), timezones=st.just(datetime.UTC))
_words = st.text("abcXYZ019/+=", min_size=1, max_size=60)
_SIGNER = RequestSigner(region="eu-west-1", service=SERVICE)
"""Shared by all examples, so that a key kept for one must not be used for another."""


@some
@given(_hosts, _models, st.sampled_from(["chat", "chat stream"]), st.binary(max_size=300), _moments,
       st.tuples(_words, _words, st.none() | _words))  # fmt: skip
def test_signatures_are_botocores(
    host: str, model_id: str, kind: str, body: bytes, now: datetime.datetime, credentials: tuple[str, str, str | None]
) -> None:
    """Whatever the address, the model, the body, the moment and the credentials: letter by letter the same."""
    url = URL(host + fill_model(PATHS["bedrock"][kind], model_id), encoded=True)
    access_key, secret_key, token = credentials
    request: Any = aws_sdk.awsrequest.AWSRequest("POST", str(url), {"content-type": "application/json"}, data=body)
    with _botocore_at(now):
        aws_sdk.auth.SigV4Auth(aws_sdk.credentials.Credentials(*credentials), SERVICE, "eu-west-1").add_auth(request)
    ours = Credentials(access_key=access_key, secret_key=Secret(secret_key), token=token)
    headers = _SIGNER.sign(url, hash_body(body), ours, now_s=now.timestamp())
    assert headers == {name.lower(): str(value) for name, value in request.headers.items()}


@given(st.lists(st.binary(max_size=20)))
def test_a_body_in_pieces_has_the_hash_of_the_whole(pieces: list[bytes]) -> None:
    """However it is cut."""
    body: Body = tuple(memoryview(piece) for piece in pieces)
    assert hash_body(body) == hash_body(b"".join(pieces)) == hashlib.sha256(b"".join(pieces)).hexdigest()


async def test_profiles_are_read(tmp_path: Path) -> None:
    """A named profile of the shared files signs."""
    (tmp_path / "credentials").write_text(f"[acme]\naws_access_key_id = AKIDACME\naws_secret_access_key = {SECRET}\n")
    headers = await AwsSigner("aws", region="eu-west-1", profile="acme").sign(URL_OF_NONE, b"{}")
    assert "Credential=AKIDACME/" in headers["authorization"]
    with pytest.raises(ProviderError, match=r"got no AWS credentials: .*\(nobody\)") as error:
        await AwsSigner("aws", region="eu-west-1", profile="nobody").sign(URL_OF_NONE, b"{}")
    assert error.value.kind == "authentication"


async def test_without_credentials_a_call_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to set; the search, which may be slow, is not made for every call, but made again."""
    clock = HandSetClock()
    signer = AwsSigner("aws", region="us-east-1", clock=clock)
    with pytest.raises(ProviderError, match=r"has no AWS credentials\. Set AWS_ACCESS_KEY_ID") as error:
        await signer.sign(URL_OF_NONE, b"{}")
    assert (error.value.kind, error.value.retryable) == ("authentication", False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with pytest.raises(ProviderError, match="has no AWS credentials"):
        await signer.sign(URL_OF_NONE, b"{}")
    clock.since_start_s += RETRY_AFTER_S
    assert KEY_ID in (await signer.sign(URL_OF_NONE, b"{}"))["authorization"]


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
    headers = await signer.sign(URL_OF_NONE, b"{}")
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
    credentials: Any = vars(signer)["_source"]
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
