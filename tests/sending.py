"""A server that sends what a test has written, so that a reader is seen to find out what is wrong."""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress


@contextmanager
def sending(streams: Sequence[bytes]) -> Iterator[int]:
    """The port of a server that sends each who comes the next of *streams*, and waits for all to leave.

    With an empty one it closes at once.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connections = []
            for text in streams:
                connection, _ = listener.accept()
                connection.sendall(text)
                if not text:
                    connection.close()
                connections.append(connection)
            for connection in connections:
                # It may be closed by now; and who leaves with something unread resets it.
                with connection, suppress(OSError):
                    while connection.recv(1_024):
                        pass

        server = threading.Thread(target=serve)
        server.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.join()
