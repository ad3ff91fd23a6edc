"""Heads and bodies of answers in one packet; ends of connections."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from onepass.serving.joining import JoiningTransport

RESET = struct.pack("ii", 1, 0)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"


class Deaf(asyncio.Protocol):
    """Reads nothing, so that it does not learn that its client is gone."""

    def __init__(self):
        self.transport = None

    def connection_made(self, transport):
        transport.pause_reading()
        self.transport = transport


async def with_client(act):
    """Let `act` see a transport, and the socket of its client."""
    loop, protocol = asyncio.get_running_loop(), Deaf()
    server = await loop.create_server(lambda: protocol, "127.0.0.1", 0)
    with socket.create_connection(server.sockets[0].getsockname()) as client:
        while protocol.transport is None:
            await asyncio.sleep(0.01)
        await act(protocol.transport, client)
    protocol.transport.abort()
    server.close()


def is_gone(transport):
    try:
        transport.get_extra_info("socket").getpeername()
    except OSError:
        return True
    return False


@pytest.mark.parametrize("lingers", [True, False])
def test_a_connection_that_its_client_has_reset_is_closed_without_complaint(lingers):
    async def act(transport, client):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.close()
        while not is_gone(transport):
            await asyncio.sleep(0.01)
        JoiningTransport(transport, lambda: lingers).close()
        assert transport.is_closing()

    asyncio.run(with_client(act))


def test_head_and_body_come_in_one_packet_before_the_end():
    async def act(transport, client):
        joining = JoiningTransport(transport, lambda: True)
        joining.write(HEAD)
        client.setblocking(False)
        await asyncio.sleep(0.01)
        with pytest.raises(BlockingIOError):
            client.recv(100)
        joining.write(b"1,2\n")
        joining.write(HEAD)
        joining.close()
        await asyncio.sleep(0.01)
        assert client.recv(1000) == HEAD + b"1,2\n" + HEAD
        assert client.recv(1000) == b""
        assert not transport.is_closing()  # the client may go on

    asyncio.run(with_client(act))
