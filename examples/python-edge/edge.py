"""An edge node in Python, written from docs/protocol.md: joins, reports, obeys, answers, renews, comes back.

    pip install -r requirements.txt
    python edge.py --hub localhost --node edge-1 --token "$(sallyport token create --node edge-1)"

Started again it needs no token: key, certificate and CA are in ./sallyport-node-edge-1.
"""

import argparse
import asyncio
import hashlib
import http.client
import json
import os
import random
import signal
import ssl
import sys
import time
import uuid
from datetime import datetime, timezone
from pathlib import Path

import websockets
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

# KubeEdge's default; it keeps fleets of one CloudCore apart, and this hub takes any.
PROJECT = "e632aba927ea4ac2b575ec1603d56f10"
THERMOSTAT = "default/thermostat/living-room"
HEARTBEAT_S = 15
# Close codes and words of a refusal that mean "never": a person has to act.
NEVER_CODES = {4403, 4413}
NEVER_WORDS = {"node-mismatch", "revoked", "NodeMismatch", "Revoked"}
# These ask for a new certificate first.
RENEW_CODES = {4401, 4411, 4412}


class Never(Exception):
    """The hub does not want this node until a person has acted."""


class Refused(Exception):
    """The hub refused to enrol or to renew."""


def say(text: str) -> None:
    print(text, flush=True)


# — certificates —


def ask(hub: str, path: str, context: ssl.SSLContext, headers: dict | None = None, body: bytes | None = None):
    """One GET to the hub's HTTPS; EdgeCore sends a GET with a body, so the hub takes it."""
    connection = http.client.HTTPSConnection(hub, context=context, timeout=15)
    try:
        connection.request("GET", path, body=body, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read(65536)
    finally:
        connection.close()


def ask_patiently(*request):
    """
    An address may ask only so often, and nodes may share it: wait as long as the hub says, and more. A
    quarantine is meant to be lifted.
    """
    for attempt in range(1000):
        status, headers, body = ask(*request)
        after = headers.get("Retry-After")
        is_busy = status in (429, 503) and after is not None
        if not is_busy and headers.get("Sallyport-Reason") != "quarantined":
            return status, headers, body
        wait = int(after or 0) + random.uniform(0.5, 1) * min(60, 2**attempt)
        say(f"waiting {wait:.0f} s: {body.decode(errors='replace').strip()}")
        time.sleep(wait)
    raise Refused("the hub has let nobody in for hours")


def new_request(node: str) -> tuple[bytes, bytes]:
    """A fresh key (PEM) and its certificate signing request (DER). The hub takes the name from the header."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"system:node:{node}"),
        ]
    )
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem, csr.public_bytes(serialization.Encoding.DER)


def pem_of(der: bytes) -> bytes:
    return x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM)


def unverified() -> ssl.SSLContext:
    """Right only for what is checked by other means afterwards."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Identity:
    """Key and certificate in one file, replaced at once, and the CA in another."""

    def __init__(self, node: str, https: str, folder: Path):
        self.node, self.https = node, https
        self.pair, self.ca = folder / "node.pem", folder / "ca.pem"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / ".gitignore").write_text("*\n")

    def context(self) -> ssl.SSLContext:
        """Nobody is believed but the CA the token named."""
        context = ssl.create_default_context(cafile=str(self.ca))
        # The CA of a fleet may be of KubeEdge's making, which leaves out extensions that this flag asks for.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if self.pair.exists():
            context.load_cert_chain(str(self.pair))
        return context

    def join(self, token: str) -> None:
        if self.pair.exists():
            return
        ca_sha256, jwt = token.strip().split(".", 1)
        # TLS cannot be verified yet, so the bytes are: against the hash, which came by another way.
        _, _, ca = ask_patiently(self.https, "/ca.crt", unverified())
        if hashlib.sha256(ca).hexdigest() != ca_sha256.lower():
            raise Refused("the hub has another CA than the token names")
        self._write(self.ca, pem_of(ca))
        self._enrol({"Authorization": f"Bearer {jwt}"}, ask_patiently)
        say("joined")

    def renew(self) -> None:
        """Over mutual TLS, without a token. A new CA comes over a connection that the old one vouches for."""
        self._enrol({}, ask)
        certificate = x509.load_pem_x509_certificate(self.pair.read_bytes())
        known = x509.load_pem_x509_certificates(self.ca.read_bytes())
        if not any(is_issuer(ca, certificate) for ca in known):
            _, _, fetched = ask(self.https, "/ca.crt", self.context())
            self._write(self.ca, pem_of(fetched) + self.ca.read_bytes())
        say(f"renewed, valid until {certificate.not_valid_after_utc.isoformat()}")

    def renew_at(self) -> float:
        """Between 70 and 90 % of its life, so that a fleet that joined in a minute does not renew in one."""
        certificate = x509.load_pem_x509_certificate(self.pair.read_bytes())
        begin, end = (
            moment.timestamp()
            for moment in (certificate.not_valid_before_utc, certificate.not_valid_after_utc)
        )
        return begin + (end - begin) * random.uniform(0.7, 0.9)

    def serial(self) -> str:
        return format(x509.load_pem_x509_certificate(self.pair.read_bytes()).serial_number, "X")

    def _enrol(self, headers: dict, how) -> None:
        key, csr = new_request(self.node)
        status, answered, body = how(
            self.https, "/edge.crt", self.context(), {"NodeName": self.node, **headers}, csr
        )
        if status != 200:
            raise Refused(f"{answered.get('Sallyport-Reason')}: {body.decode(errors='replace').strip()}")
        self._write(self.pair, key + pem_of(body))

    @staticmethod
    def _write(file: Path, content: bytes) -> None:
        """All or nothing, and for this user alone."""
        fresh = file.with_suffix(".new")
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        os.replace(fresh, file)


def is_issuer(ca: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(ca)
        return True
    except Exception:
        return False


# — messages —


def message(
    resource: str, operation: str, content, *, parent: str | None = None, sync: bool = False, **route
) -> dict:
    header = {"msg_id": str(uuid.uuid4()), "timestamp": int(time.time() * 1000)}
    if parent is not None:
        header["parent_msg_id"] = parent
    if sync:
        header["sync"] = True
    return {
        "header": header,
        "route": {
            "source": "edge",
            "group": "resource",
            "operation": operation,
            "resource": resource,
            **route,
        },
        "content": content,
    }


def answer(to: dict, content, operation: str = "response") -> dict:
    """Source, group and resource are those of the message that is answered."""
    route = to["route"]
    return message(
        route.get("resource", ""),
        operation,
        content,
        parent=to["header"]["msg_id"],
        source=route.get("source", ""),
        group=route.get("group", ""),
    )


class Edge:
    def __init__(self, identity: Identity, url: str, period_s: float):
        self.identity, self.url, self.period_s = identity, url, period_s
        self.target = 20.0
        # Not acknowledged yet, oldest first: sent again, under the same id, after each reconnect.
        self.waiting: dict[str, dict] = {}
        # Ids seen, to recognise what the hub repeats; the oldest are forgotten.
        self.seen: dict[str, dict] = {}
        self.renew_at = identity.renew_at()
        self.moved = asyncio.Event()

    async def run(self) -> None:
        failures = 0
        while True:
            began, wants_renewal, hint = time.monotonic(), False, None
            try:
                await self.serve()
            except websockets.InvalidStatus as refused:
                word = refused.response.headers.get("Sallyport-Reason", "")
                after = refused.response.headers.get("Retry-After", "")
                say(f"refused: {refused.response.status_code} {word}")
                if word in NEVER_WORDS:
                    raise Never(word) from None
                wants_renewal = refused.response.status_code == 401
                hint = int(after) if after.isdigit() else None
            except websockets.ConnectionClosed as closed:
                code, reason = (
                    (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "the hub is gone")
                )
                say(f"disconnected: {code} {reason}")
                if code in NEVER_CODES:
                    raise Never(reason) from None
                wants_renewal = code in RENEW_CODES
                hint = hint_of(reason)
            except (OSError, TimeoutError) as problem:
                say(f"not connected: {problem}")
            if wants_renewal:
                await self.renew()
            failures = 0 if time.monotonic() - began > 10 else failures + 1
            wait = random.uniform(0.5, 1) * min(60, 2**failures)
            await asyncio.sleep(wait if hint is None else max(hint, 0 if failures <= 1 else wait))

    async def serve(self) -> None:
        headers = {"node_id": self.identity.node, "project_id": PROJECT, "ConnectionUse": "msg"}
        context = self.identity.context()
        async with websockets.connect(
            self.url,
            ssl=context,
            additional_headers=headers,
            compression=None,
            max_size=16 * 2**20,
            proxy=None,
        ) as link:
            say("connected")
            for waiting in list(self.waiting.values()):
                await send(link, waiting)
            tasks = [
                asyncio.create_task(work(link)) for work in (self.read, self.beat, self.report, self.watch)
            ]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def read(self, link) -> None:
        async for text in link:
            received = json.loads(text)
            parent = received["header"].get("parent_msg_id")
            if parent:
                # The hub has it, or says why not: either ends it.
                if self.waiting.pop(parent, None):
                    say(
                        "acknowledged"
                        if received["route"]["operation"] == "response"
                        else f"refused: {received}"
                    )
                continue
            identifier = received["header"]["msg_id"]
            if identifier not in self.seen:
                self.seen[identifier] = self.handle(received)
                if len(self.seen) > 2000:
                    del self.seen[next(iter(self.seen))]
            await send(link, self.seen[identifier])

    def handle(self, received: dict) -> dict:
        """The answer: `OK` acknowledges, `error` refuses."""
        route, content = received["route"], received.get("content")
        if route.get("source") == "sallyport" and route["operation"] == "renew":
            if content["serial"].upper().lstrip("0") == self.identity.serial():
                self.renew_at = time.time() + random.random() * content["withinMs"] / 1000
                self.moved.set()
            return answer(received, "OK")
        if route.get("resource") != THERMOSTAT:
            return answer(received, f"this node has no {route.get('resource')}", "error")
        if route["operation"] == "get":
            return answer(received, {"target": self.target})
        if not isinstance(content, dict) or not isinstance(content.get("target"), (int, float)):
            return answer(received, "target has to be a number", "error")
        self.target = content["target"]
        say(f"target set to {self.target}")
        return answer(received, "OK")

    async def beat(self, link) -> None:
        while True:
            await send(link, message("node", "keepalive", "ping", source="websocket"))
            await asyncio.sleep(HEARTBEAT_S)

    async def report(self, link) -> None:
        while True:
            reading = message(
                THERMOSTAT,
                "update",
                {"temperature": round(self.target + random.uniform(-0.5, 0.5), 1)},
                sync=True,
            )
            # Bounded: what the hub does not take for long is of no interest any more.
            if len(self.waiting) < 1000:
                self.waiting[reading["header"]["msg_id"]] = reading
                await send(link, reading)
            await asyncio.sleep(self.period_s)

    async def watch(self, link) -> None:
        """Renews when it is due and ends the link, so that the next one shows the new certificate."""
        while True:
            self.moved.clear()
            try:
                await asyncio.wait_for(self.moved.wait(), min(3600, max(0, self.renew_at - time.time())))
            except TimeoutError:
                pass
            if time.time() >= self.renew_at and await self.renew():
                await link.close()
                return

    async def renew(self) -> bool:
        try:
            await asyncio.to_thread(self.identity.renew)
            self.renew_at = self.identity.renew_at()
            return True
        except (Refused, OSError) as problem:
            say(f"not renewed: {problem}")
            self.renew_at = time.time() + random.uniform(60, 600)
            return False


async def send(link, whole: dict) -> None:
    await link.send(json.dumps(whole) + "\n")


def hint_of(reason: str) -> float | None:
    """`Draining: the hub is restarting reconnectAfterMs=1234`, in seconds."""
    _, found, after = reason.partition("reconnectAfterMs=")
    return int(after) / 1000 if found and after.isdigit() else None


async def main() -> int:
    options = argparse.ArgumentParser(description="an edge node of Sallyport")
    options.add_argument("--hub", default="localhost")
    options.add_argument("--https-port", type=int, default=10002)
    options.add_argument("--websocket-port", type=int, default=10000)
    options.add_argument("--node", default="edge-1")
    options.add_argument("--token", default=os.environ.get("SALLYPORT_TOKEN"))
    options.add_argument("--directory")
    options.add_argument(
        "--renew", action="store_true", help="renew the certificate now, not only when it is due"
    )
    options.add_argument("--period", type=float, default=5, help="seconds between two readings")
    given = options.parse_args()
    folder = Path(given.directory or f"sallyport-node-{given.node}")
    identity = Identity(given.node, f"{given.hub}:{given.https_port}", folder)
    if given.token:
        identity.join(given.token)
    if given.renew:
        identity.renew()
    edge = Edge(
        identity, f"wss://{given.hub}:{given.websocket_port}/{PROJECT}/{given.node}/events", given.period
    )
    running = asyncio.current_task()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    try:
        await edge.run()
    except asyncio.CancelledError:
        say("bye")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except (Never, Refused) as problem:
        sys.exit(f"the hub does not want this node: {problem}")
