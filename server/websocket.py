"""uvicorn's WebSocket protocol, made fit for clients that break the rules.

Its own hangs when a handshake cannot be read, ends some connections before the close frame has
arrived (a client then sees 1006 and no reason), and waits without end for who does not read.
"""

import asyncio
from typing import Any

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

MAX_MESSAGE = 64 * 1024  # bytes, as of a request's body; longer ones close with 1009
PING_INTERVAL = 20.0  # seconds; whoever does not answer one within as long is gone
LINGER = 10.0  # seconds from our close frame to the end of the connection, whoever reads it or not

BODY = (
    b'{"errors":[{"message":"This is no WebSocket handshake.","extensions":{"code":"BAD_REQUEST",'
    b'"hint":"Send the headers of RFC 6455, 4.1"}}]}'
)
UNREADABLE = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)

# What uvicorn.Config is told of WebSockets.
OPTIONS: dict[str, Any] = {
    "ws_max_size": MAX_MESSAGE,
    "ws_per_message_deflate": False,  # memory and time for whoever asks, and secrets beside texts
    "ws_ping_interval": PING_INTERVAL,
    "ws_ping_timeout": PING_INTERVAL,
}


class WebSocket(WebSocketsSansIOProtocol):
    """One connection."""

    def data_received(self, data: bytes) -> None:
        """As uvicorn does; and answers a handshake that cannot be read."""
        if self.disconnected:
            return
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            self.transport.write(UNREADABLE)
            self.transport.close()

    def handle_cont(self, event: Frame) -> None:
        """A part of a message; an empty one in the middle would be counted by nobody."""
        if event.data or event.fin:
            super().handle_cont(event)

    def handle_ping(self) -> None:
        """A pong, unless who asks for them reads none."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()

    def handle_parser_exception(self) -> None:
        """Closes for what is no WebSocket, is too long or is no text; the close frame arrives."""
        if self.close_sent or self.conn.close_sent is None:
            return
        self._give_up(self.conn.close_sent.code, self.conn.close_sent.reason)

    def keepalive_timeout(self) -> None:
        """Closes for who answers no ping: with a code at which clients come back."""
        self.pong_timer = self.pending_ping_payload = None
        if not self.close_sent and not self.transport.is_closing():
            self.conn.fail(1013, "no pong")
            self._give_up(1013, "no pong")

    async def send(self, message: Any) -> None:
        """As uvicorn does; a close waits for no reader, and not for ever for its end."""
        if message["type"] == "websocket.close":
            self.writable.set()
        elif self.close_sent and message["type"] == "websocket.send":
            raise ClientDisconnected
        await super().send(message)
        if message["type"] == "websocket.close" and self.close_timer is not None:
            self._linger()

    def _give_up(self, code: int, reason: str) -> None:
        """Sends what there is to be sent, the close frame at its end, and reads on for a while.

        A connection closed at once, with something unread, loses what was sent last.
        """
        self.stop_keepalive()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self._linger()

    def _linger(self) -> None:
        if self.close_timer is not None:
            self.close_timer.cancel()
        self.close_timer = asyncio.get_running_loop().call_later(LINGER, self.transport.abort)
