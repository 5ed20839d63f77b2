"""A TCP proxy on the loopback that makes a network slow, silent or broken.

One thread runs an event loop with two pipes for each connection. Each piece of bytes that arrives is given the time at
which it is to be passed on, half a round trip later, so pieces travel at the same time as over a line. The kernel has
no delays for this (``tc netem``) on every machine.

The states, each until `heal`:

- `cut`: nothing is read and nothing is written. Connections stay open, and new ones are accepted by the kernel, which
  acknowledges what fits its buffers: a client that sends more waits in its call.
- `hang`: everything is read and therefore acknowledged, but not passed on, as by a server that is wedged: a client
  sends all that it has and waits for an answer. libpq waits for ever then, as no timeout of TCP applies.
- `hold_answers`: only what the server says is not passed on.
- `refuse`: connections are reset, and new ones refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

_PIECE = 64 * 1024


class Proxy:
    """Passes connections to `port` on to another port of the loopback. Close it, or use it in a ``with`` block."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._reading: asyncio.Event = asyncio.Event()
        self._passing = {True: asyncio.Event(), False: asyncio.Event()}
        """Whether bytes for the server (True) and for its client (False) are passed on."""
        self._rtt = 0.0
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._until_cut: int | None = None
        self.connections = 0
        """How many there were."""
        self.port = 0
        self._thread = threading.Thread(target=self._run, name="tcp proxy", daemon=True)
        self._thread.start()
        self._do(self._listen)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def delay(self, rtt: float) -> None:
        """Delay what arrives from now on by half of these seconds in each direction."""
        self._rtt = rtt

    def cut(self) -> None:
        self._do(self._cut)

    def cut_after(self, size: int) -> None:
        """`cut` once so many more bytes were passed on to the server, and pass none on of those that follow."""
        self._until_cut = size

    def hang(self) -> None:
        self._do(self._stop_passing, True, False)

    def hold_answers(self) -> None:
        self._do(self._stop_passing, False)

    def reset(self) -> None:
        """Reset every connection; new ones are served."""
        self._do(self._reset)

    def refuse(self) -> None:
        self._do(self._refuse)

    def heal(self) -> None:
        """Pass everything on as before, first what waited."""
        self._do(self._heal)

    def is_cut(self) -> bool:
        """Whether `cut_after` has cut."""
        return not self._reading.is_set()

    def close(self) -> None:
        if not self._loop.is_closed():
            self._do(self._end)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _do(self, action: Callable[..., Any], *arguments: object) -> None:
        """Have the loop's thread do something, and wait until it is done."""

        async def done() -> None:
            result = action(*arguments)
            if asyncio.iscoroutine(result):
                await result

        asyncio.run_coroutine_threadsafe(done(), self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        self._pass()

    def _pass(self) -> None:
        for event in (self._reading, *self._passing.values()):
            event.set()

    def _cut(self) -> None:
        self._until_cut = None
        self._reading.clear()
        self._stop_passing(True, False)

    def _stop_passing(self, *directions: bool) -> None:
        for is_to_server in directions:
            self._passing[is_to_server].clear()

    def _reset(self) -> None:
        for writer in list(self._writers):
            with contextlib.suppress(OSError):
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()

    def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self._reset()

    async def _heal(self) -> None:
        self._until_cut = None
        if self._server is None:
            await self._listen()
        self._pass()

    async def _end(self) -> None:
        self._refuse()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass both directions on until one of them ends."""
        self.connections += 1
        with contextlib.suppress(OSError):
            async with contextlib.AsyncExitStack() as ends:
                ends.enter_context(self._closing(writer))
                await self._reading.wait()
                inner, outer = await asyncio.open_connection("127.0.0.1", self._target)
                ends.enter_context(self._closing(outer))
                pipes = [asyncio.ensure_future(self._pipe(reader, outer, True))]
                pipes += [asyncio.ensure_future(self._pipe(inner, writer, False))]
                try:
                    await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for pipe in pipes:
                        pipe.cancel()
                    await asyncio.gather(*pipes, return_exceptions=True)

    @contextlib.contextmanager
    def _closing(self, writer: asyncio.StreamWriter) -> Iterator[None]:
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._writers.add(writer)
        try:
            yield
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_to_server: bool) -> None:
        """Pass one direction on until its end."""
        line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        reading = asyncio.ensure_future(self._read(reader, line))
        try:
            while True:
                due, data = await line.get()
                if (wait := due - self._loop.time()) > 0:
                    await asyncio.sleep(wait)
                await self._passing[is_to_server].wait()
                if not data:
                    return
                if is_to_server:
                    await self._count(len(data))
                writer.write(data)
                await writer.drain()
        finally:
            reading.cancel()

    async def _read(self, reader: asyncio.StreamReader, line: asyncio.Queue[tuple[float, bytes]]) -> None:
        """Read to the end, which is an empty piece, as a connection that was reset has one too."""
        data = b"-"
        while data:
            await self._reading.wait()
            try:
                data = await reader.read(_PIECE)
            except OSError:
                data = b""
            line.put_nowait((self._loop.time() + self._rtt / 2, data))

    async def _count(self, size: int) -> None:
        """Cut, and wait for `heal`, where so many bytes more are too many."""
        if self._until_cut is None:
            return
        self._until_cut -= size
        if self._until_cut < 0:
            self._cut()
            await self._passing[True].wait()
