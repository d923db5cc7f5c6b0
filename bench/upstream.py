"""Owns the upstream that is never the bottleneck: nginx, which answers every request with the same bytes."""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

from bench.payloads import chat_answer, stream_answer
from bench.processes import free_port, running, wait_for_port

STREAM_PREFIX = "/stream"
"""Below it the answer is a stream: nginx does not look into bodies."""

_CONFIG = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  open_file_cache max=10 inactive=1h;
  tcp_nodelay on;
  keepalive_requests 1000000000;
  keepalive_timeout 600;
  client_max_body_size 64m;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ default_type application/json; return 200 '{answer}'; }}
    location {stream_prefix}/ {{ error_page 405 =200 /answer.sse; return 405; }}
    location = /answer.sse {{ internal; root {folder}; default_type text/event-stream; types {{}} }}
  }}
}}
"""


@contextmanager
def nginx(folder: Path, cores: Iterable[int]) -> Generator[int]:
    """Run nginx and give its port."""
    port = free_port()
    (folder / "answer.sse").write_bytes(stream_answer())  # longer than what nginx's `return` takes
    config = folder / "nginx.conf"
    config.write_text(
        _CONFIG.format(
            folder=folder,
            port=port,
            answer=_quoted(chat_answer()),
            stream_prefix=STREAM_PREFIX,
        )
    )
    log = folder / "nginx.log"
    with running(["nginx", "-c", str(config), "-p", str(folder)], cores=cores, log=log) as pid:
        wait_for_port(port, pid, within_s=10, log=log)
        yield port


def _quoted(body: bytes) -> str:
    """Write bytes into nginx's single quotes, where a dollar would name a variable."""
    text = body.decode()
    assert "$" not in text
    return text.replace("\\", "\\\\").replace("'", "\\'")
