#!/usr/bin/env python3
"""A server of OpenAI's interface for the tests of tools/llm_run.py: llm_server.py PORTFILE, until its parent kills it.

It says yes to a prompt with `good` in it, refuses one with `bad`, drops the connection on one with `drop` the first time, sends
half of what it promised of one with `half`, something else than HTTP or an answer to one with `noise` or `list`, turns every
second new prompt away once as being busy, and else says no.
"""
import http.server
import json
import sys

seen = {}


class Answer(http.server.BaseHTTPRequestHandler):
    def log_message(self, format, *args):
        pass

    def reply(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        prompt = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][0]["content"]
        times = seen[prompt] = seen.get(prompt, 0) + 1
        if times == 1 and "drop" in prompt:
            self.close_connection = True
        elif times == 1 and ("half" in prompt or "noise" in prompt):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{" if "half" in prompt else b"noise\r\n\r\n")
            self.close_connection = True
        elif times == 1 and "list" in prompt:
            self.reply(200, b"[1]")
        elif times == 1 and len(seen) % 2 == 0:
            self.reply(429, b"busy")
        elif "bad" in prompt:
            self.reply(400, b"I will not")
        else:
            says = {"message": {"content": "Yes. \ud83d" if "good" in prompt else "No, it is not."}}
            self.reply(200, json.dumps({"choices": [says], "usage": {"prompt_tokens": 20, "completion_tokens": 2}}).encode())


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
with open(sys.argv[1], "w") as f:
    f.write(f"{server.server_port}\n")
server.serve_forever()
