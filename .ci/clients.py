"""What requests, httpx and websockets do and see. Called by `.ci/clients`."""

import os
import re
import sys

import httpx
import requests
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

API, KEY, UNKNOWN = os.environ["API"], os.environ["KEY"], os.environ["UNKNOWN"]
UPLOAD = bytes(5_000_000)


def chunks():
    for start in range(0, len(UPLOAD), 50_000):
        yield UPLOAD[start : start + 50_000]


def row(client, what, right, see):
    try:
        saw = str(see())
    except Exception as error:
        saw = f"error: {type(error).__name__}: {error}"
    ok = "ok" if re.search(right, saw) else "NOT OK"
    print(client, what, " ".join(saw.split()), ok, sep="\t")


def bearer(key):
    return {"authorization": f"Bearer {key}"}


def with_client(name, client):
    orders, scarce = f"http://{API}/orders", f"http://{API}/scarce"

    def good():
        answer = client.get(orders, headers=bearer(KEY))
        return f"{answer.status_code} RateLimit: {answer.headers['ratelimit']}"

    def bad():
        answer = client.get(orders, headers=bearer(UNKNOWN))
        return f"{answer.status_code} {answer.headers['www-authenticate']}"

    def limited():
        client.get(scarce, headers=bearer(KEY))
        answer = client.get(scarce, headers=bearer(KEY))
        return f"{answer.status_code} Retry-After: {answer.headers['retry-after']}"

    def upload(body):
        saw = []
        for _ in range(20):
            # `requests` takes any body as `data`, httpx as `content`.
            take = {"data" if name == "requests" else "content": body()}
            saw.append(client.post(orders, headers=bearer(UNKNOWN), **take).status_code)
        # The same client goes on, on a connection that is still good.
        saw.append(client.get(orders, headers=bearer(KEY)).status_code)
        return " ".join(f"{status} x {saw.count(status)}" for status in sorted(set(saw)))

    row(name, "GET, good key", r"^200 .*r=\d", good)
    row(name, "GET, unknown key", "^401 Bearer .*invalid_token", bad)
    row(name, "over the limit", r"^429 Retry-After: \d+$", limited)
    row(name, "20 uploads of 5 MB, unknown key", "^200 x 1 401 x 20$", lambda: upload(lambda: UPLOAD))
    row(name, "the same, in chunks", "^200 x 1 401 x 20$", lambda: upload(chunks))


def event():
    with requests.get(f"http://{API}/events", params={"key": KEY}, stream=True) as answer:
        return next(answer.iter_lines()).decode()


def socket(key):
    try:
        with connect(f"ws://{API}/socket", subprotocols=["orders.v1", f"key.{key}"]) as socket:
            return f"{socket.subprotocol}: {socket.recv()}"
    except InvalidStatus as refused:
        return refused.response.status_code


with_client("requests", requests.Session())
with_client("httpx", httpx.Client())
with_client("httpx, HTTP/2", httpx.Client(http1=False, http2=True))
row("requests", "events, key in the query", "^data: page$", event)
row("websockets", "key in a protocol", "^orders.v1: page$", lambda: socket(KEY))
row("websockets", "unknown key", "^401$", lambda: socket(UNKNOWN))
sys.stdout.flush()
