#!/usr/bin/env python3
"""Asks a server what is in a file of `kpd llm prompts`, and writes the answers that `kpd llm answers` reads.

    python3 tools/llm_run.py prompts.jsonl answers.jsonl --url http://localhost:8000 [--parallel 8] [--limit 1000]

Any server with OpenAI's interface will do; a key is taken from the environment's OPENAI_API_KEY. Answers are appended as they
come, so that the same command goes on where it was stopped: what has an answer is not asked again, and half a line at the end
is cut off. A busy or failing server (429, 5xx, no connection, time-out) is asked again, later and later, --retries times; what
it refuses is written as it is, for `kpd llm answers` to count, and asked anew the next time. Exit status 1 if anything failed.
Needs nothing but Python.
"""
import argparse
import concurrent.futures
import http.client
import itertools
import json
import os
import random
import sys
import threading
import time
import urllib.error
import urllib.request


def numbered(path, key, cut=False):
    """The JSON objects of a file, which have a custom_id and that key. cut: a last line without its end is passed over."""
    with open(path, "rb") as f:
        for number, line in enumerate(f, 1):
            if cut and not line.endswith(b"\n"):
                if not b'{"custom_id": "'.startswith(line[:15]):
                    sys.exit(f"llm_run: {path}:{number}: not half an answer; is this a file of answers?")
                return
            try:
                row = json.loads(line)
                if not isinstance(row, dict) or not isinstance(row.get("custom_id"), str) or \
                        not isinstance(row.get(key, 0), dict if key == "body" else (dict, type(None))):
                    raise ValueError(f"no object with a custom_id and {key}")
            except ValueError as e:
                sys.exit(f"llm_run: {path}:{number}: {e}")
            yield row


def answered(path):
    """The ids that have an answer. If all lines are answers, half a one at the end is cut off."""
    if not os.path.exists(path):
        return set()
    known = {row["custom_id"] for row in numbered(path, "response", cut=True) if (row["response"] or {}).get("status_code") == 200}
    with open(path, "r+b") as f:
        f.truncate(sum(len(line) for line in f if line.endswith(b"\n")))
    return known


class Server:
    def __init__(self, a):
        self.a = a
        self.stop = threading.Event()

    def once(self, row):
        """Status, the answer's JSON, and how long the server wants to be left alone."""
        request = urllib.request.Request(self.a.url.rstrip("/") + row.get("url", "/v1/chat/completions"),
                                         json.dumps(row["body"]).encode(), {"Content-Type": "application/json"})
        key = os.environ.get("OPENAI_API_KEY")
        if key:
            request.add_header("Authorization", f"Bearer {key}")
        try:
            with urllib.request.urlopen(request, timeout=self.a.timeout) as response:
                body = json.loads(response.read())
                if not isinstance(body, dict):
                    raise ValueError(f"an answer that is no object, {type(body).__name__}")
                return response.status, body, 0.0
        except urllib.error.HTTPError as e:
            wait = e.headers.get("Retry-After", "") if e.headers else ""
            try:
                said = e.read(2000).decode("utf-8", "replace")
            except (OSError, http.client.HTTPException) as broken:
                said = type(broken).__name__
            return e.code, {"error": said}, float(wait) if wait.isdigit() else 0.0
        except (OSError, ValueError, http.client.HTTPException) as e:   # no connection, a time-out, half an answer
            return 0, {"error": f"{type(e).__name__}: {e}"}, 0.0

    def ask(self, row):
        """A line of the answers."""
        for attempt in range(self.a.retries + 1):
            status, body, wait = self.once(row)
            if status not in (0, 408, 409, 429) and status < 500 or attempt == self.a.retries:
                break
            if self.stop.wait(max(wait, min(60.0, self.a.pause * 2 ** attempt * (0.5 + random.random())))):
                break
        error = None if status == 200 else {"message": body.get("error")}
        return {"custom_id": row["custom_id"], "response": {"status_code": status, "body": body}, "error": error}


class Progress:
    def __init__(self, of):
        self.of, self.done, self.failed, self.began, self.shown = of, 0, 0, time.monotonic(), 0.0

    def add(self, ok):
        self.done += 1
        self.failed += not ok
        now = time.monotonic()
        every = 0.5 if sys.stderr.isatty() else 30
        if now - self.shown < every and self.done < self.of:
            return
        self.shown = now
        rate = self.done / max(now - self.began, 1e-9)
        left = (self.of - self.done) / rate
        sys.stderr.write(f"{self.done} of {self.of} asked, {self.failed} failed, {rate:.1f}/s, {left:.0f} s left")
        sys.stderr.write("   \r" if sys.stderr.isatty() and self.done < self.of else "\n")


def run(a, rows, n, out):
    server, progress = Server(a), Progress(n)
    with concurrent.futures.ThreadPoolExecutor(a.parallel) as pool:
        waiting = set()
        try:
            while True:
                while len(waiting) < 2 * a.parallel and (row := next(rows, None)) is not None:
                    waiting.add(pool.submit(server.ask, row))
                if not waiting:
                    return progress.failed
                done, waiting = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
                for future in done:
                    answer = future.result()
                    text = json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace")    # half a surrogate pair is a ?
                    out.write(text.decode() + "\n")
                    out.flush()
                    progress.add(answer["error"] is None)
        finally:
            server.stop.set()               # those under way end; nothing is asked again
            for future in waiting:
                future.cancel()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("prompts")
    p.add_argument("answers")
    p.add_argument("--url", required=True, help="of the server, without /v1")
    p.add_argument("--parallel", type=int, default=8, help="requests at the same time (8)")
    p.add_argument("--retries", type=int, default=6, help="of a request that a busy server turns away (6)")
    p.add_argument("--pause", type=float, default=1.0, help="seconds before the first of them, then twice as long (1)")
    p.add_argument("--timeout", type=float, default=120.0, help="seconds for an answer (120)")
    p.add_argument("--limit", type=int, help="ask no more than so many")
    a = p.parse_args()
    if a.parallel < 1 or a.retries < 0 or (a.limit is not None and a.limit < 0):
        p.error("--parallel from 1, --retries and --limit from 0")
    if not a.url.startswith(("http://", "https://")):
        p.error(f"--url {a.url}: expected http://... or https://...")
    if os.path.exists(a.answers) and os.path.samefile(a.prompts, a.answers):
        p.error(f"{a.answers} is both, prompts and answers")
    known = answered(a.answers)
    asked = {row["custom_id"] for row in numbered(a.prompts, "body")}
    n = len(asked - known)
    n = n if a.limit is None else min(n, a.limit)
    rows = itertools.islice((row for row in numbered(a.prompts, "body") if row["custom_id"] not in known), n)
    sys.stderr.write(f"{len(known & asked)} answered before, {n} to ask\n")
    with open(a.answers, "a", encoding="utf-8") as out:
        try:
            return 1 if run(a, rows, n, out) else 0
        except KeyboardInterrupt:
            sys.stderr.write("\nstopped; the same command goes on\n")
            return 130


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OSError as e:
        sys.exit(f"llm_run: {e.filename or ''}: {e.strerror}")
