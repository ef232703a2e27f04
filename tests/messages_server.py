"""A loopback server that speaks the Messages API and its batches, and fails as it is told to.

It knows the true score of every answer (`truth`), and scripts say what goes wrong before it gives
one: a fault is used up by the request it spoils.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "claude-haiku-4-5-20251001"
KEY = "sk-test-MARKER-0123456789"

RETRIED = ("429:7", "429", "429:soon", "500", "503", "529", "drop", "cut", "garbage", "no-message")
"""Faults of the way: asked again until they pass. (And `timeout`, which takes its time.)"""

REFUSED = ("400", "401", "402", "403", "404", "422")

BAD_REPLIES: dict[str, dict[str, Any]] = {
    "refusal": {"stop_reason": "refusal", "text": ""},
    "max_tokens": {"stop_reason": "max_tokens", "text": '{"rationale": "r", "score": 10}'},
    "tool_use": {"stop_reason": "tool_use", "text": '{"rationale": "r", "score": 10}'},
    "prose": {"text": "As the answer asks for it: Score: 10"},
    "fenced": {"text": '```json\n{"rationale": "r", "score": 10}\n```'},
    "range": {"text": '{"rationale": "r", "score": 1000}'},
    "negative": {"text": '{"rationale": "r", "score": -1}'},
    "infinite": {"text": '{"rationale": "r", "score": 1e999}'},
    "nan": {"text": '{"rationale": "r", "score": NaN}'},
    "fraction": {"text": '{"rationale": "r", "score": 9.5}'},
    "bool": {"text": '{"rationale": "r", "score": true}'},
    "string": {"text": '{"rationale": "r", "score": "10"}'},
    "null": {"text": '{"rationale": "r", "score": null}'},
    "missing": {"text": '{"rationale": "r"}'},
    "no-rationale": {"text": '{"score": 10}'},
    "more": {"text": '{"rationale": "r", "score": 10, "sure": true}'},
    "twice": {"text": '{"rationale": "r", "score": 10, "score": 90}'},
    "list": {"text": "[10]"},
    "deep": {"text": "[" * 100_000},
    "empty": {"text": ""},
}
"""Replies that hold no valid score."""


def truth(answer: str) -> int:
    """The score that this server gives an answer."""
    return int(hashlib.sha256(answer.encode()).hexdigest()[:8], 16) % 101


def judged(params: dict[str, Any]) -> tuple[str, str]:
    """Question and answer of a request, read by its first line's fence."""
    content = params["messages"][0]["content"]
    mark = content.split(" ", 1)[0]
    question, rest = content.removeprefix(f"{mark} question\n").split(f"\n{mark} answer\n")
    answer, _ = rest.split(f"\n{mark} end\n")
    return question, answer


class MessagesServer:
    """The server; use it in a `with` block.

    Attributes:
        faults: what goes wrong with the next requests about an answer; under None, with the next
            requests of any kind.
        bodies: parsed bodies of all POSTs, in order.
        replies, good: how many replies each answer had, and how many of them hold its score: what
            is paid for.
        batches: requests of each batch by its id.
        polls: looks at a batch until it has ended.
        echo_key: write the caller's key into every error message.
    """

    def __init__(self) -> None:
        self.faults: dict[str | None, list[str]] = {}
        self.batch_results: dict[str, str] = {}
        self.bodies: list[dict[str, Any]] = []
        self.gets: list[str] = []
        self.replies: Counter[str] = Counter()
        self.good: Counter[str] = Counter()
        self.batches: dict[str, list[dict[str, Any]]] = {}
        self.polls = 2
        self.echo_key = False
        self.pause = 0.0
        self.stopping = threading.Event()
        self._lock = threading.RLock()
        self._looks: Counter[str] = Counter()

    def __enter__(self) -> MessagesServer:
        handler = type("Handler", (_Handler,), {"owner": self})
        self._http = _Http(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    @property
    def singles(self) -> int:
        """Requests for single messages."""
        return sum("messages" in body for body in self.bodies)

    def fault(self, answer: str | None) -> str | None:
        """The next fault of an answer, else the next of any request."""
        with self._lock:
            for name in (answer, None):
                if self.faults.get(name):
                    return self.faults[name].pop(0)
        return None

    def message(self, params: dict[str, Any], fault: str | None = None) -> dict[str, Any]:
        """A paid reply."""
        _, answer = judged(params)
        with self._lock:
            self.replies[answer] += 1
            self.good[answer] += fault not in BAD_REPLIES
        reply = {"stop_reason": "end_turn", **_good(answer), **BAD_REPLIES.get(fault or "", {})}
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-other-20200101" if fault == "other-model" else params["model"],
            "content": [{"type": "text", "text": reply["text"]}],
            "stop_reason": reply["stop_reason"],
            "stop_sequence": None,
            "usage": {"input_tokens": 100, "output_tokens": 20},
        }

    def hand_in(self, requests: list[dict[str, Any]]) -> dict[str, Any]:
        with self._lock:
            name = f"msgbatch_{len(self.batches)}"
            self.batches[name] = requests
        return self.look(name)

    def look(self, name: str) -> dict[str, Any]:
        with self._lock:
            self._looks[name] += 1
            ended = self._looks[name] > self.polls
        return {
            "id": name,
            "type": "message_batch",
            "processing_status": "ended" if ended else "in_progress",
            "results_url": f"{self.url}/v1/messages/batches/{name}/results" if ended else None,
        }

    def results(self, name: str) -> list[dict[str, Any]]:
        """In another order than they were handed in."""
        rows = []
        for entry in reversed(self.batches[name]):
            kind = self.batch_results.get(judged(entry["params"])[1], "succeeded")
            result: dict[str, Any] = {"type": kind}
            if kind == "errored":
                result["error"] = {"type": "error", "error": {"type": "api_error", "message": "?"}}
            elif kind not in ("expired", "canceled"):
                message = self.message(entry["params"], kind)
                result = {"type": "succeeded", "message": message}
            rows.append({"custom_id": entry["custom_id"], "result": result})
        return rows


def _good(answer: str) -> dict[str, Any]:
    return {"text": json.dumps({"rationale": f"because {answer[:20]}", "score": truth(answer)})}


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of this server."""


class _Handler(BaseHTTPRequestHandler):
    owner: MessagesServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.owner._lock:
            self.owner.bodies.append(body)
        batch = "requests" in body
        fault = self.owner.fault(None if batch else judged(body)[1])
        if self.owner.pause:
            self.owner.stopping.wait(self.owner.pause)
        if fault is not None and self._fail(fault):
            return
        if batch:
            self._send(self.owner.hand_in(body["requests"]))
        else:
            self._send(self.owner.message(body, fault))

    def do_GET(self) -> None:
        self.owner.gets.append(self.path)
        fault = self.owner.fault(None)
        if fault is not None and self._fail(fault):
            return
        name, _, rest = self.path.removeprefix("/v1/messages/batches/").partition("/")
        if name not in self.owner.batches:
            self._fail("404")
        elif rest == "results":
            lines = [json.dumps(row) + "\n" for row in self.owner.results(name)]
            self._write(200, "".join(lines).encode())
        else:
            self._send(self.owner.look(name))

    def _fail(self, fault: str) -> bool:
        """Spoil this request; False where the fault is one of the reply's content."""
        name, _, detail = fault.partition(":")
        if name.isdigit():
            self._refuse(int(name), detail)
        elif name == "timeout":
            self.owner.stopping.wait(5.0)
            self.close_connection = True
        elif name == "drop":
            self.close_connection = True
        elif name == "cut":
            self._write(200, b'{"type": "mess', length=1000)
            self.close_connection = True
        elif name == "garbage":
            self._write(200, b'{"type": "message", "content": [')
        elif name == "no-message":
            self._send({"type": "ping"})
        else:
            return False
        return True

    def _refuse(self, status: int, detail: str) -> None:
        said = detail if status != 429 else "slow down"
        if self.owner.echo_key:
            said += f" (key {self.headers.get('authorization')})"
        headers = {"retry-after": detail} if status == 429 and detail else {}
        error = {"type": "error", "error": {"type": "some_error", "message": said or "no"}}
        self._write(status, json.dumps(error).encode(), headers=headers)

    def _send(self, value: object) -> None:
        self._write(200, json.dumps(value).encode())

    def _write(
        self,
        status: int,
        data: bytes,
        *,
        length: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data) if length is None else length))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


class FakeTime:
    """A clock that sleeping moves: `sleep` and the clock itself, for a judge."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sleeps: list[float] = []
        self._lock = threading.Lock()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.sleeps.append(seconds)
            self.now += seconds


@contextlib.contextmanager
def served() -> Iterator[MessagesServer]:
    """A server that runs for a block."""
    with MessagesServer() as server:
        yield server
