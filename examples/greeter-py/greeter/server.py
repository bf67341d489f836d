"""The web service: GET /greetings/NAME, /picture/NAME and /healthz."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from greeter import greeting


def picture(text):
    """Draws text as SVG, by a program of the base image."""
    dot = shutil.which("dot")
    if dot is None:
        raise FileNotFoundError("dot is not installed; the base image has it, in Debian's graphviz")
    label = text.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')
    graph = f'graph {{ node [shape=ellipse style=filled fillcolor=lightyellow] greeting [label="{label}"] }}'
    return subprocess.run([dot, "-Tsvg"], input=graph, capture_output=True, check=True, timeout=10, text=True, encoding="utf-8").stdout


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "greeter"
    timeout = 30

    def do_GET(self):
        path = urlsplit(self.path).path
        if path == "/healthz":
            return self.answer(HTTPStatus.OK, "text/plain", "ok\n")
        kind, _, name = path.removeprefix("/").partition("/")
        if kind not in ("greetings", "picture") or "/" in name:
            return self.problem(HTTPStatus.NOT_FOUND, "there are /greetings/NAME, /picture/NAME and /healthz")
        language = greeting.choose_language(self.headers.get("Accept-Language"))
        try:
            text = greeting.greet(unquote(name, errors="strict"), language)
        except ValueError as error:  # UnicodeDecodeError is one
            return self.problem(HTTPStatus.BAD_REQUEST, str(error))
        if kind == "picture":
            try:
                return self.answer(HTTPStatus.OK, "image/svg+xml", picture(text), language)
            except (FileNotFoundError, subprocess.SubprocessError) as error:
                self.log_error("drawing a picture: %s", error)
                return self.problem(HTTPStatus.INTERNAL_SERVER_ERROR, "the picture could not be drawn; the log has the reason")
        self.answer(HTTPStatus.OK, "application/json", json.dumps({"greeting": text}, ensure_ascii=False) + "\n", language)

    do_HEAD = do_GET

    def answer(self, status, kind, text, language=None):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Vary", "Accept-Language")
        if language:
            self.send_header("Content-Language", language)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def problem(self, status, detail):
        self.answer(status, "application/problem+json", json.dumps({"title": status.phrase, "status": status, "detail": detail}) + "\n")

    def log_message(self, format, *args):
        print(json.dumps({"remote": self.client_address[0], "message": format % args}), flush=True)


def main():
    host, _, port = os.environ.get("GREETER_LISTEN", ":8080").rpartition(":")
    server = ThreadingHTTPServer((host, int(port)), Handler)
    server.daemon_threads = False  # requests under way are finished at the end

    def stop(*_):
        # shutdown waits for the loop that this signal interrupted
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    print(json.dumps({"message": f"serving on port {server.server_port}"}), flush=True)
    with server:
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
