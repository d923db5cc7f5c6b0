"""The rules of webhooks: which addresses are public, what a signature is, when the last try was."""

import asyncio
import base64

import pytest

from backstay.jobs.webhooks import (
    PAUSES_S,
    WebhookRefused,
    find_address,
    is_public,
    pause_after,
    read_url,
    secret_of,
    sign,
    write_secret,
)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1"])
def test_public_addresses(address: str) -> None:
    """The internet's own."""
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",
        "100.100.100.200", "168.63.129.16", "192.88.99.1", "fec0::1", "::127.0.0.1",
        "192.0.0.192", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::1", "::",
        "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
        "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:1::1",
    ],
)  # fmt: skip
def test_addresses_inside(address: str) -> None:
    """Loopback, private, link-local, metadata, shared, multicast, and IPv6 that carries an IPv4 address."""
    assert not is_public(address)


def test_a_signature_is_the_standards() -> None:
    """The example of the specification's reference libraries comes out."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = sign([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_secrets_differ_by_salt() -> None:
    """And are written as receivers take them."""
    first, second = (secret_of(b"x" * 32, salt) for salt in (b"1", b"2"))
    assert first != second and len(first) == 32
    assert base64.b64decode(write_secret(first).removeprefix("whsec_")) == first


def test_tries_end() -> None:
    """After the last pause, or at once where the receiver says that it is gone for good."""
    assert [pause_after(500, tries) for tries in range(1, len(PAUSES_S) + 2)] == [*PAUSES_S, None]
    assert pause_after(410, 1) is None


async def test_a_name_with_one_address_inside_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who answers for a name could otherwise show a public address when it is checked, and choose another later."""
    answers = ["1.1.1.1", "10.0.0.7"]

    async def getaddrinfo(*_: object, **__: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        return [(2, 1, 6, "", (address, 443)) for address in answers]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    place = read_url("https://hooks.example/a", [])
    with pytest.raises(WebhookRefused):
        await find_address(place)
    answers.pop()
    assert await find_address(place) == "1.1.1.1"
