"""A client of the privacy-number API, as a customer would have it. Python's standard library only.

    client = PrivateNumber("https://127.0.0.1:18443", "my-app", "my-secret", "AKSK")
    answer = client.bind_axb(callerNum="+8613800000001", calleeNum="+8613900000002", areaCode="0755")
    answer.status, answer["resultcode"], answer["relationNum"]

Operations take the parameters that the API's documentation names. Nothing is checked here: the platform is what is under test.
"""

import base64
import hashlib
import hmac
import http.client
import json
import ssl
import time
import urllib.parse
import uuid

AXB = "/rest/caas/relationnumber/partners/v1.0"
AX = "/rest/provision/caas/privatenumber/v1.0"
AX_CALLEE = "/rest/caas/privatenumber/calleenumber/v1.0"
AXE = "/rest/caas/extendnumber/v1.0"
RECORD = "/rest/provision/voice/record/v1.0"
CALL_STOP = "/rest/httpsessions/callStop/v2.0"

GENERATIONS = ("WSSE", "AKSK")


def digest(generation, secret, nonce, created):
    """The PasswordDigest of a request."""
    if generation == "WSSE":
        raw = hashlib.sha256((nonce + created + secret).encode()).digest()
    else:
        raw = hmac.new(secret.encode(), (nonce + created).encode(), hashlib.sha256).digest()
    return base64.b64encode(raw).decode()


def authentication(generation, key, secret, nonce=None, created=None):
    """The two headers that sign a request."""
    nonce = nonce or uuid.uuid4().hex
    created = created or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    token = (f'UsernameToken Username="{key}", PasswordDigest="{digest(generation, secret, nonce, created)}", '
             f'Nonce="{nonce}", Created="{created}"')
    return {
        "Authorization": f'{generation} realm="SDP",profile="UsernameToken",type="Appkey"',
        "X-" + generation: token,
    }


class Answer:
    """What came back: the HTTP status, the headers and the body's JSON (None where it is not JSON)."""

    def __init__(self, status, headers, raw):
        self.status = status
        self.headers = headers
        self.raw = raw
        try:
            self.body = json.loads(raw)
        except ValueError:
            self.body = None

    def __getitem__(self, name):
        return self.body[name]

    def __str__(self):
        return f"HTTP {self.status} {self.raw.decode(errors='replace')}"


class PrivateNumber:
    """One app of one platform."""

    def __init__(self, url, key, secret, generation="AKSK", timeout=20):
        if generation not in GENERATIONS:
            raise ValueError(f"no such generation: {generation}")
        self.base = urllib.parse.urlsplit(url)
        self.key, self.secret, self.generation, self.timeout = key, secret, generation, timeout
        # The platform's certificate may be anybody's, as in the official demos.
        self.anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.anyone.check_hostname = False
        self.anyone.verify_mode = ssl.CERT_NONE

    def request(self, method, path, query=None, body=None, headers=None, raw=None):
        """One request on a connection of its own. `headers` replace the signature, `raw` (bytes) the JSON of `body`."""
        if self.base.scheme == "https":
            connection = http.client.HTTPSConnection(self.base.netloc, timeout=self.timeout, context=self.anyone)
        else:
            connection = http.client.HTTPConnection(self.base.netloc, timeout=self.timeout)
        target = self.base.path.rstrip("/") + path
        if query:
            target += "?" + urllib.parse.urlencode(query)
        if raw is None and body is not None:
            raw = json.dumps(body).encode()
        if headers is None:
            headers = authentication(self.generation, self.key, self.secret)
        headers = {"Content-Type": "application/json;charset=UTF-8", "Accept": "application/json", **headers}
        try:
            connection.request(method, target, body=raw, headers=headers)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    # A and B, both hidden behind X.

    def bind_axb(self, **fields):
        return self.request("POST", AXB, body=fields)

    def unbind_axb(self, **which):
        return self.request("DELETE", AXB, query=which)

    def modify_axb(self, **fields):
        return self.request("PUT", AXB, body=fields)

    def query_axb(self, **which):
        return self.request("GET", AXB, query=which)

    # A alone behind X.

    def bind_ax(self, **fields):
        return self.request("POST", AX, body=fields)

    def unbind_ax(self, **which):
        return self.request("DELETE", AX, query=which)

    def modify_ax(self, **fields):
        return self.request("PUT", AX, body=fields)

    def query_ax(self, **which):
        return self.request("GET", AX, query=which)

    def set_callee(self, **fields):
        """Whom A reaches by dialling X, for a minute."""
        return self.request("PUT", AX_CALLEE, body=fields)

    # A behind X and an extension.

    def bind_axe(self, **fields):
        return self.request("POST", AXE, body=fields)

    def unbind_axe(self, **which):
        return self.request("DELETE", AXE, query=which)

    def modify_axe(self, **fields):
        return self.request("PUT", AXE, body=fields)

    def query_axe(self, **which):
        return self.request("GET", AXE, query=which)

    # Calls.

    def record_link(self, **which):
        """Where a recording can be fetched: 301, and the address in `Location`."""
        return self.request("GET", RECORD, query=which)

    def stop_call(self, **fields):
        return self.request("POST", CALL_STOP, body=fields)
