"""A TCP forwarder between device and relay, so that a test can cut the control connection and nothing else."""

import asyncio
import contextlib
import threading


class Proxy:
    """Forwards one loopback port to another until it is cut."""

    def __init__(self, target_port: int) -> None:
        self._target = target_port
        self._is_cut = False
        self._open: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]

    def _run(self, what):
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, far_writer}
        self._serving.add(asyncio.current_task())
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        self._open -= {writer, far_writer}
        self._serving.discard(asyncio.current_task())

    def cut(self) -> None:
        """Every connection breaks, new ones are refused."""
        self._is_cut = True
        self._run(self._abort())

    async def _abort(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    def mend(self) -> None:
        """New connections are taken again."""
        self._is_cut = False

    def close(self) -> None:
        """End it."""
        self.cut()
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        await asyncio.gather(*self._serving, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()
