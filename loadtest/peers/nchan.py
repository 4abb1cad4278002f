"""nginx with nchan, as Debian has them: one worker, messages in memory.

What its documentation says of speed: the memory store is the fast one (Redis is for many machines), and
messages live in memory that all workers share, whose size is set once. nginx's own advises `access_log
off` and enough `worker_connections`. Shared memory is counted, since messages and channels are kept there.
"""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from loadtest.peers.bridged import Way, bridged
from loadtest.peers.peer import InstallError, Peer, Running, carry_out
from loadtest.reader import EVENT, Look

PACKAGES = ("nginx", "libnginx-mod-nchan")
MODULES = Path("/usr/lib/nginx/modules")
NEEDED = (MODULES / "ngx_nchan_module.so",)

CONFIGURATION = """\
{modules}
user {user};
worker_processes 1;
worker_rlimit_nofile 65536;
daemon off;
pid {folder}/pid;
error_log stderr error;
events {{
    worker_connections 32768;
    multi_accept on;
}}
http {{
    access_log off;
    tcp_nodelay on;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_body_buffer_size 64k;
    client_body_in_single_buffer on;
    nchan_shared_memory_size 256M;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location ~ ^/stream/(?<channel>[^/]+)$ {{
            nchan_subscriber eventsource;
            nchan_channel_id $channel;
            nchan_subscriber_first_message newest;
            nchan_eventsource_event {event};
        }}
        location ~ ^/publish/(?<channel>[^/]+)$ {{
            nchan_publisher http;
            nchan_channel_id $channel;
            nchan_message_buffer_length 10;
            nchan_message_timeout 10s;
        }}
    }}
}}
"""


class Nchan(Peer):
    """nginx and its module."""

    name = "nchan"

    def version(self) -> str:
        """Those of the packages."""
        command = ["dpkg-query", "--show", "--showformat", "${Package} ${Version}, ", *PACKAGES]
        if shutil.which(command[0]) is None:
            return ""
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.rstrip(", ")

    def absent(self) -> str | None:
        """Whether Debian's packages are there."""
        if _nginx() is None or not all(path.exists() for path in NEEDED):
            return "Debian's packages nginx and libnginx-mod-nchan must be installed, as root"
        return None

    def install(self) -> None:
        """Have apt-get install the packages, without starting the server that they bring."""
        if shutil.which("apt-get") is None or os.geteuid() != 0:
            raise InstallError("nginx and its module nchan come from Debian, and apt-get needs root")
        carry_out(["apt-get", "update", "-q"])
        carry_out(
            ["apt-get", "install", "-q", "-y", "--no-install-recommends", *PACKAGES],
            environment={"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"},
        )

    @contextmanager
    def running(self, core: Sequence[int] = (), dsn: str | None = None) -> Iterator[Running]:
        """Start it with a configuration of its own."""
        # The subscriber's first word, once it is among the channel's.
        look = Look(b": hi")
        way = Way("/stream/{}".format, "/publish/{user_id}", look)
        with bridged(_command, way, core=core, dsn=dsn) as running:
            yield running


def _command(folder: Path, port: int) -> Sequence[str]:
    configuration = folder / "nginx.conf"
    user = pwd.getpwuid(os.geteuid()).pw_name
    modules = "".join(f"load_module {path};\n" for path in NEEDED)
    configuration.write_text(
        CONFIGURATION.format(modules=modules, user=user, folder=folder, port=port, event=EVENT), "utf-8"
    )
    return [str(_nginx()), "-p", str(folder), "-c", str(configuration), "-e", "stderr"]


def _nginx() -> str | None:
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
