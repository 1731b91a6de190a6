#!/usr/bin/env python3
"""Walks the whole customers' API with privatenumber.py: one line for each step, and exit code 1 at the first difference from
what the API's documentation says. Takes away what it has bound, also after a difference.

It may run again and again, and beside another client that has another --area: there each app needs five X that nobody holds.
"""

import argparse
import contextlib
import random
import re
import sys
import threading
import time

sys.dont_write_bytecode = True  # No folder of compiled files beside the sources.

from privatenumber import AX, AXB, AXE, GENERATIONS, RECORD, PrivateNumber, authentication, digest

# What the documentation says to each code, where it says it; some codes have two texts. A dot at the end is not looked at.
TEXTS = {
    "0": ["Success"],
    "1010003": ["Invalid app_key"],
    "1010040": ["The app_key is not allowed to invoke the API"],
    "1011001": ["Account does not exist", "The account does not exist"],
    "1011002": ["Insufficient number of resources"],
    "1011005": ["Resources have been allocated", "Resource has been applied"],
    "1012001": ["Resource of number is not to be applied"],
    "1012007": ["The record does not exist"],
    "1012008": ["Insufficient number of resources"],
    "1012010": ["The relation number has been bound", r"The number \S+ has been bound"],
    "1016001": ["The record does not exist"],
    "1016002": ["The record already exists"],
    "1023006": ["Authorization not contained in the HTTP header"],
    "1023007": ["realm not contained in Authorization"],
    "1023008": ["profile not contained in Authorization"],
    "1023009": ["The value of realm in Authorization must be SDP"],
    "1023010": ["The value of profile in Authorization must be UsernameToken"],
    "1023011": ["The value of type in Authorization must be app_key"],
    "1023012": ["type not contained in Authorization"],
    "1023033": ["HTTP header not found X-AKSK field"],
    "1023034": ["UserName not contained in X-AKSK"],
    "1023035": ["Nonce not contained in X-AKSK"],
    "1023036": ["Created not contained in X-AKSK"],
    "1023037": ["PasswordDigest not contained in X-AKSK"],
}

FOREIGN_X = "+8613700000000"
NO_SUCH_ID = "00000000-0000-0000-0000-000000000000"


class Difference(Exception):
    """The platform has done something else than the documentation says."""


def want(condition, message):
    if not condition:
        raise Difference(message)


def same(what, got, wanted):
    want(got == wanted and type(got) is type(wanted), f"{what}: {got!r}, wanted {wanted!r}")


def well_formed(answer):
    """What holds for every answer."""
    want(isinstance(answer.body, dict), f"the body is no JSON object: {answer}")
    kind = answer.headers.get("Content-Type", "")
    want(kind.startswith("application/json"), f"Content-Type is {kind!r}: {answer}")
    for name, longest in (("resultcode", 32), ("resultdesc", 256)):
        value = answer.body.get(name)
        want(isinstance(value, str) and 1 <= len(value) <= longest, f"{name} is no string of 1-{longest}: {answer}")
    texts = TEXTS.get(answer["resultcode"])
    text = answer["resultdesc"].rstrip(".")
    want(not texts or any(re.fullmatch(known, text) for known in texts), f"the code has another text: {answer}")
    return answer


def success(answer, exactly=None, **fields):
    """A success; `exactly` these fields beside resultcode and resultdesc, some with these values."""
    well_formed(answer)
    want(answer.status == 200 and answer["resultcode"] == "0", f"no success: {answer}")
    if exactly is not None:
        extra = set(answer.body) - {"resultcode", "resultdesc"}
        want(extra == set(exactly), f"fields {sorted(extra)}, wanted {sorted(exactly)}: {answer}")
    holds(answer.body, fields)
    return answer


def holds(body, fields):
    for name, wanted in fields.items():
        want(name in body or wanted == "", f"{name} is missing in {body}")
        same(name, body.get(name, ""), wanted)


def refused(answer, status, code, names=None):
    """A refusal. `code` None: the documentation has none for it. `names`: what the text must speak of."""
    well_formed(answer)
    want(answer.status == status, f"HTTP {status} is documented: {answer}")
    want(answer["resultcode"] != "0", f"a refusal with the code of success: {answer}")
    want(code is None or answer["resultcode"] == code, f"{code} is documented: {answer}")
    want(names is None or names in answer["resultdesc"], f"the text does not name {names}: {answer}")
    return answer


def malformed(answer, parameter):
    return refused(answer, 400, "1010002", parameter)


def all_at_once(actions):
    """The answers to requests that are sent at the same time."""
    answers = [None] * len(actions)
    ready = threading.Barrier(len(actions))

    def act(place):
        ready.wait()
        answers[place] = actions[place]()

    threads = [threading.Thread(target=act, args=(place,)) for place in range(len(actions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    want(all(answers), "a request of several at once has failed")
    return answers


class Story:
    """What the parts of the story share."""

    def __init__(self, options):
        self.options = options
        self.steps = 0
        self.step_name = ""
        self.held = {}
        self.run = random.SystemRandom().randrange(100_000)
        self.numbers = 0
        client = lambda key: PrivateNumber(options.url, key, options.secret, options.generation)
        self.axb, self.ax, self.axe = client(options.key_axb), client(options.key_ax), client(options.key_axe)

    @contextlib.contextmanager
    def step(self, name):
        self.step_name = name
        yield
        self.steps += 1
        print(f"ok {self.steps:3} {name}", flush=True)

    def mobile(self):
        """A number that no other client uses, nor any other step."""
        self.numbers += 1
        return f"+86{138 + self.numbers % 2}{self.run:05}{self.numbers:03}"

    def fixed_line(self, area):
        return f"+86{area[1:]}8{self.run:05}{self.numbers % 100:02}"

    def is_in(self, x, area):
        want(isinstance(x, str) and x.startswith("+86" + area[1:]), f"X {x!r} is not in {area}")

    # Whatever is bound is remembered, so that nothing is left.

    def hold(self, unbind, answer):
        if isinstance(answer.body, dict) and "subscriptionId" in answer.body:
            self.held[answer["subscriptionId"]] = unbind
        return answer

    def bind_axb(self, **fields):
        return self.hold(self.axb.unbind_axb, self.axb.bind_axb(**fields))

    def bind_ax(self, **fields):
        """Waits a while for an X that another client holds for a moment."""
        for _ in range(40):
            answer = self.hold(self.ax.unbind_ax, self.ax.bind_ax(**fields))
            if answer.body is None or answer["resultcode"] not in ("1011002", "1011005"):
                break
            time.sleep(0.05)
        return answer

    def bind_ax_at_once(self, **fields):
        return self.hold(self.ax.unbind_ax, self.ax.bind_ax(**fields))

    def bind_axe(self, **fields):
        return self.hold(self.axe.unbind_axe, self.axe.bind_axe(**fields))

    def unbind(self, subscription):
        """By its id, which must work."""
        success(self.held.pop(subscription)(subscriptionId=subscription), exactly=())

    def gone(self, *subscriptions):
        """They are unbound already."""
        for subscription in subscriptions:
            self.held.pop(subscription, None)

    def clean_up(self):
        for subscription, unbind in list(self.held.items()):
            unbind(subscriptionId=subscription)
            self.gone(subscription)

    # Parts.

    def offline(self):
        with self.step("the digests of the documentation"):
            vector = ("example-app-secret", "66C92B11FF8A425FB8D4CCFE0ED9ED1F", "2018-02-12T15:30:20Z")
            same("WSSE", digest("WSSE", *vector), "MOALP58lp7xmv81VDvkC348H1a2ePYMQzvuTR70W+h8=")
            same("AKSK", digest("AKSK", *vector), "cT2yQosKRfqTn/r/6vaPrhHiH2eGlJKoAacxJiLVwwc=")


# ---- AXB ------------------------------------------------------------------------------------------------------------

AXB_BOUND = ("subscriptionId", "relationNum", "callDirection", "duration", "maxDuration")


def axb_item(story, subscription, **fields):
    """The one binding of a query by id."""
    answer = success(story.axb.query_axb(subscriptionId=subscription), totalCount=1)
    items = answer["relationNumList"]
    want(isinstance(items, list) and len(items) == 1, f"not one binding: {answer}")
    holds(items[0], {"subscriptionId": subscription, **fields})
    return items[0]


def axb(story):
    area = story.options.area
    a, b, c, d = (story.mobile() for _ in range(4))

    with story.step("AXB: A and B get an X of the area"):
        bound = success(story.bind_axb(callerNum=a, calleeNum=b, areaCode=area), exactly=AXB_BOUND,
                        callDirection=0, duration=0, maxDuration=0)
        first, x = bound["subscriptionId"], bound["relationNum"]
        story.is_in(x, area)
        want(isinstance(first, str) and 1 <= len(first) <= 64, f"subscriptionId is no string of 1-64: {bound}")

    with story.step("AXB: the binding is found by id, by X and by its parties"):
        axb_item(story, first, callerNum=a, calleeNum=b, relationNum=x)
        for which in ({"callerNum": a}, {"calleeNum": b}, {"callerNum": a, "calleeNum": b}):
            answer = success(story.axb.query_axb(relationNum=x, **which), totalCount=1)
            holds(answer["relationNumList"][0], {"subscriptionId": first})
        refused(story.axb.query_axb(relationNum=x, callerNum=c), 403, "1012007")

    with story.step("AXB: of subscriptionId and relationNum the first wins"):
        answer = success(story.axb.query_axb(subscriptionId=first, relationNum=FOREIGN_X), totalCount=1)
        holds(answer["relationNumList"][0], {"subscriptionId": first})
        refused(story.axb.query_axb(subscriptionId=NO_SUCH_ID, relationNum=x), 403, "1012007")
        refused(story.axb.unbind_axb(subscriptionId=NO_SUCH_ID, relationNum=x), 403, None)
        axb_item(story, first)

    with story.step("AXB: another pair on the same X"):
        second = success(story.bind_axb(callerNum=c, calleeNum=d, relationNum=x, areaCode=story.options.empty_area),
                         exactly=AXB_BOUND, relationNum=x)["subscriptionId"]

    with story.step("AXB: a number occurs once only on an X (1012010)"):
        e = story.mobile()
        for caller, callee in ((a, e), (e, a), (b, e), (e, b), (a, b), (b, a), (a, c)):
            refused(story.bind_axb(callerNum=caller, calleeNum=callee, relationNum=x), 403, "1012010")

    with story.step("AXB: of several at once that want the same number, one gets it"):
        e = story.mobile()
        others = [story.mobile() for _ in range(8)]
        answers = all_at_once([
            lambda other=other, turn=place % 2: story.bind_axb(
                callerNum=e if turn else other, calleeNum=other if turn else e, relationNum=x)
            for place, other in enumerate(others)])
        winners = [answer for answer in answers if answer["resultcode"] == "0"]
        want(len(winners) == 1, f"{len(winners)} bindings of one number on one X")
        for answer in answers:
            if answer is not winners[0]:
                refused(answer, 403, "1012010")
        story.unbind(winners[0]["subscriptionId"])

    with story.step("AXB: the same A with another B gets another X"):
        answer = success(story.bind_axb(callerNum=a, calleeNum=e, areaCode=area), exactly=AXB_BOUND)
        story.is_in(answer["relationNum"], area)
        want(answer["relationNum"] != x, f"A twice on {x}")
        story.unbind(answer["subscriptionId"])

    axb_transfer(story, first, second, x, (a, b, c, d))
    story.unbind(first)
    story.unbind(second)
    axb_allocation(story)
    axb_values(story)
    axb_paging_and_unbinding(story)


def axb_transfer(story, first, second, x, parties):
    a, b, c, d = parties
    b1, a1, b2 = (story.mobile() for _ in range(3))

    with story.step("AXB: transfer, A-X-B to A-X-B1"):
        success(story.axb.modify_axb(subscriptionId=first, calleeNum=b1), exactly=())
        axb_item(story, first, callerNum=a, calleeNum=b1, relationNum=x)
        refused(story.bind_axb(callerNum=b1, calleeNum=story.mobile(), relationNum=x), 403, "1012010")
        story.unbind(success(story.bind_axb(callerNum=b, calleeNum=story.mobile(), relationNum=x))["subscriptionId"])

    with story.step("AXB: transfer to A1-X-B1, and everything else, by one modify"):
        changes = {
            "callerNum": a1, "calleeNum": b2, "callDirection": 1, "duration": 3600, "maxDuration": 5,
            "lastMinVoice": "last.wav", "privateSms": "false", "recordFlag": "true", "userData": "order-1",
            "preVoice": {"callerHintTone": "a.wav", "calleeHintTone": "b.wav"},
        }
        success(story.axb.modify_axb(subscriptionId=first, **changes), exactly=())
        axb_item(story, first, relationNum=x, **changes)

    with story.step("AXB: what a modify does not name stays"):
        success(story.axb.modify_axb(subscriptionId=first, maxDuration=6), exactly=())
        axb_item(story, first, **{**changes, "maxDuration": 6})

    with story.step("AXB: a refused modify changes nothing"):
        for taken in (c, d):
            answer = story.axb.modify_axb(subscriptionId=first, calleeNum=taken, maxDuration=7, userData="no")
            refused(answer, 403, "1012010")
        malformed(story.axb.modify_axb(subscriptionId=first, maxDuration=7, callDirection=3), "callDirection")
        malformed(story.axb.modify_axb(subscriptionId=first, maxDuration=7, userData="{no}"), "userData")
        axb_item(story, first, **{**changes, "maxDuration": 6})

    with story.step("AXB: parties change places by one modify"):
        success(story.axb.modify_axb(subscriptionId=first, callerNum=b2, calleeNum=a1), exactly=())
        axb_item(story, first, callerNum=b2, calleeNum=a1)

    with story.step("AXB: of two transfers at once to the same number, one is made"):
        wanted = story.mobile()
        answers = all_at_once([
            lambda: story.axb.modify_axb(subscriptionId=first, calleeNum=wanted),
            lambda: story.axb.modify_axb(subscriptionId=second, callerNum=wanted),
        ])
        codes = sorted(answer["resultcode"] for answer in answers)
        same("codes", codes, ["0", "1012010"])

    with story.step("AXB: nobody's binding cannot be modified"):
        refused(story.axb.modify_axb(subscriptionId=NO_SUCH_ID, calleeNum=b), 403, "1012007")
        malformed(story.axb.modify_axb(calleeNum=b), "subscriptionId")

    with story.step("AXB: duration counts from the modify, then the binding is gone"):
        parties = {"callerNum": story.mobile(), "calleeNum": story.mobile(), "relationNum": x}
        short = success(story.bind_axb(**parties, duration=2), duration=2)["subscriptionId"]
        brief = success(story.bind_axb(callerNum=story.mobile(), calleeNum=story.mobile(), relationNum=x,
                                       duration=3600), duration=3600)["subscriptionId"]
        success(story.axb.modify_axb(subscriptionId=short, duration=3600), exactly=())
        success(story.axb.modify_axb(subscriptionId=brief, duration=1), exactly=())
        time.sleep(3)
        axb_item(story, short)
        refused(story.axb.query_axb(subscriptionId=brief), 403, "1012007")
        refused(story.axb.modify_axb(subscriptionId=brief, duration=60), 403, "1012007")
        story.gone(brief)
        story.unbind(short)


def axb_allocation(story):
    area, empty = story.options.area, story.options.empty_area
    a = story.mobile()

    with story.step("AXB: strict (the default) finds nothing in a city without X (1012008)"):
        parties = {"callerNum": a, "calleeNum": story.mobile(), "areaCode": empty}
        refused(story.bind_axb(**parties), 403, "1012008")
        refused(story.bind_axb(**parties, areaMatchMode="0"), 403, "1012008")

    with story.step("AXB: loose finds an X elsewhere"):
        answer = success(story.bind_axb(**parties, areaMatchMode="1"), exactly=AXB_BOUND)
        want(not answer["relationNum"].startswith("+86" + empty[1:]), f"an X in {empty}: {answer}")
        # Another client may take it away with all of its X.
        story.axb.unbind_axb(subscriptionId=answer["subscriptionId"])
        story.gone(answer["subscriptionId"])

    with story.step("AXB: without relationNum and areaCode a fixed line gets an X of its own city"):
        answer = success(story.bind_axb(callerNum=story.fixed_line(area), calleeNum=story.mobile()))
        story.is_in(answer["relationNum"], area)
        story.unbind(answer["subscriptionId"])
        away = {"callerNum": story.fixed_line(empty), "calleeNum": story.mobile()}
        refused(story.bind_axb(**away), 403, "1012008")
        answer = success(story.bind_axb(**away, areaMatchMode="1"))
        story.axb.unbind_axb(subscriptionId=answer["subscriptionId"])
        story.gone(answer["subscriptionId"])

    with story.step("AXB: once A is on every X of the city, strict fails and loose leaves it"):
        used = {}
        while len(used) < 100:
            answer = story.bind_axb(callerNum=a, calleeNum=story.mobile(), areaCode=area)
            if answer["resultcode"] != "0":
                break
            story.is_in(answer["relationNum"], area)
            want(answer["relationNum"] not in used.values(), f"A twice on one X: {answer}")
            used[answer["subscriptionId"]] = answer["relationNum"]
        refused(answer, 403, "1012008")
        answer = success(story.bind_axb(callerNum=a, calleeNum=story.mobile(), areaCode=area, areaMatchMode="1"))
        want(not answer["relationNum"].startswith("+86" + area[1:]), f"a full city: {answer}")
        story.axb.unbind_axb(subscriptionId=answer["subscriptionId"])
        story.gone(answer["subscriptionId"])
        for subscription in used:
            story.unbind(subscription)

    with story.step("AXB: an X of somebody else (1012001)"):
        refused(story.bind_axb(callerNum=a, calleeNum=story.mobile(), relationNum=FOREIGN_X), 403, "1012001")


def axb_values(story):
    area = story.options.area
    parties = {"callerNum": story.mobile(), "calleeNum": story.mobile(), "areaCode": area}

    with story.step("AXB: every parameter of a bind is told again by the query"):
        given = {
            "callDirection": 2, "duration": 7_776_000, "recordFlag": "true", "recordHintTone": "record.wav",
            "maxDuration": 1440, "lastMinVoice": "last.wav", "privateSms": "false", "userData": "u" * 256,
            "preVoice": {"callerHintTone": "a.wav", "calleeHintTone": "b.wav"},
        }
        answer = success(story.bind_axb(**parties, areaMatchMode="0", **given), callDirection=2, duration=7_776_000,
                         maxDuration=1440)
        axb_item(story, answer["subscriptionId"], callerNum=parties["callerNum"], calleeNum=parties["calleeNum"],
                 **given)
        story.unbind(answer["subscriptionId"])

    with story.step("AXB: enumerations as strings or as JSON's own; unknown fields are ignored"):
        for on, off, mode in (("true", "false", "0"), (True, False, 0)):
            answer = success(story.bind_axb(**parties, recordFlag=on, privateSms=off, areaMatchMode=mode,
                                            colour="red", nested={"deep": [1, None]}), exactly=AXB_BOUND)
            axb_item(story, answer["subscriptionId"], recordFlag="true", privateSms="false")
            success(story.axb.modify_axb(subscriptionId=answer["subscriptionId"], recordFlag=off, privateSms=on,
                                         colour="blue"), exactly=())
            axb_item(story, answer["subscriptionId"], recordFlag="false", privateSms="true")
            story.unbind(answer["subscriptionId"])

    with story.step("AXB: a parameter that is wrong or missing is named (1010002)"):
        for name, values in {
            "callerNum": ["138", "abc", "13800000001", "+864008001234", "+8695588", "+86" + "1" * 30],
            "calleeNum": ["+864008001234", "", "nobody"],
            "callDirection": [3, -1, "both"],
            "duration": [7_776_001, -1, "soon"],
            "maxDuration": [1441, -1],
            "recordFlag": ["perhaps", 7],
            "privateSms": ["perhaps"],
            "areaMatchMode": ["2"],
            "recordHintTone": ["r" * 129],
            "lastMinVoice": ["l" * 129],
            "userData": ["{", "}", "\u7528\u6237", "u" * 257],
            "preVoice": ["a.wav"],
        }.items():
            for value in values:
                malformed(story.bind_axb(**{**parties, name: value}), name)
        malformed(story.bind_axb(callerNum=parties["callerNum"]), "calleeNum")
        malformed(story.bind_axb(calleeNum=parties["calleeNum"]), "callerNum")

    with story.step("AXB: a body that is no JSON object (1010002)"):
        for raw in (b"{", b"[]", b"callerNum=1", b"\xff\xfe"):
            refused(story.axb.request("POST", AXB, raw=raw), 400, "1010002")
        refused(story.axb.request("POST", AXB, raw=b""), 400, "1010002")


def whole_list(story, x, size):
    """Every binding of an X, page by page."""
    found, page = [], 1
    while True:
        answer = story.axb.query_axb(relationNum=x, pageIndex=page, pageSize=size)
        if answer.body and answer.body.get("resultcode") == "1012007":
            return found, len(found)
        success(answer)
        items = answer["relationNumList"]
        found += items
        if len(items) < size:
            return found, answer["totalCount"]
        page += 1


def quietly(look):
    """Looks again for a while: another client's loose allocation may pass by on any X."""
    for turn in range(20):
        try:
            return look()
        except Difference:
            if turn == 19:
                raise
            time.sleep(0.1)


def axb_paging_and_unbinding(story):
    area = story.options.area
    answer = success(story.bind_axb(callerNum=story.mobile(), calleeNum=story.mobile(), areaCode=area))
    x = answer["relationNum"]
    mine = [answer["subscriptionId"]]
    for _ in range(11):
        answer = success(story.bind_axb(callerNum=story.mobile(), calleeNum=story.mobile(), relationNum=x))
        mine.append(answer["subscriptionId"])

    with story.step("AXB: twelve pairs on an X, in pages of ten"):

        def look():
            found, total = whole_list(story, x, 10)
            same("subscriptions", sorted(item["subscriptionId"] for item in found), sorted(mine))
            same("totalCount", total, 12)
            second = success(story.axb.query_axb(relationNum=x, pageIndex=2, pageSize=10), totalCount=12)
            same("bindings on page 2", len(second["relationNumList"]), 2)

        quietly(look)

    with story.step("AXB: page 1 is the default, and a size out of 10-100 is 50"):

        def look():
            for more in ({}, {"pageSize": 9}, {"pageSize": 101}, {"pageSize": 100}, {"pageIndex": 1, "pageSize": 1}):
                answer = success(story.axb.query_axb(relationNum=x, **more), totalCount=12)
                same("bindings", len(answer["relationNumList"]), 12)

        quietly(look)

    with story.step("AXB: unbind by id, once"):
        one = mine.pop()
        story.unbind(one)
        refused(story.axb.unbind_axb(subscriptionId=one), 403, None)
        refused(story.axb.query_axb(subscriptionId=one), 403, "1012007")

    with story.step("AXB: unbind by a JSON body on DELETE"):
        one = mine.pop()
        success(story.axb.request("DELETE", AXB, body={"subscriptionId": one}), exactly=())
        story.gone(one)
        refused(story.axb.query_axb(subscriptionId=one), 403, "1012007")

    with story.step("AXB: of both the id wins: one pair goes"):
        one = mine.pop()
        success(story.axb.unbind_axb(subscriptionId=one, relationNum=x), exactly=())
        story.gone(one)
        quietly(lambda: same("pairs left", whole_list(story, x, 50)[1], 9))

    with story.step("AXB: unbind by X takes every pair of it"):
        success(story.axb.unbind_axb(relationNum=x), exactly=())
        for one in mine:
            refused(story.axb.query_axb(subscriptionId=one), 403, "1012007")
        story.gone(*mine)
        quietly(lambda: refused(story.axb.query_axb(relationNum=x), 403, "1012007"))

    with story.step("AXB: a freed X may be bound again; by X in a JSON body it is freed again"):
        answer = success(story.bind_axb(callerNum=story.mobile(), calleeNum=story.mobile(), relationNum=x))
        success(story.axb.request("DELETE", AXB, body={"relationNum": x}), exactly=())
        story.gone(answer["subscriptionId"])
        refused(story.axb.query_axb(subscriptionId=answer["subscriptionId"]), 403, "1012007")

    with story.step("AXB: unbinding what is not bound"):
        refused(story.axb.unbind_axb(relationNum=FOREIGN_X), 403, "1012001")
        quietly(lambda: refused(story.axb.unbind_axb(relationNum=x), 403, "1012001"))
        refused(story.axb.unbind_axb(), 400, "1010002")
        refused(story.axb.query_axb(), 400, "1010002")


# ---- AX -------------------------------------------------------------------------------------------------------------

AX_BOUND = ("origNum", "privateNum", "subscriptionId")


def ax_items(story, **which):
    answer = success(story.ax.query_ax(**which))
    items = answer["privateNumList"]
    want(isinstance(items, list) and items, f"no list: {answer}")
    return items


def ax_item(story, subscription, **fields):
    items = ax_items(story, subscriptionId=subscription)
    want(len(items) == 1, f"not one binding: {items}")
    holds(items[0], {"subscriptionId": subscription, **fields})


def ax(story):
    area, empty = story.options.area, story.options.empty_area
    in_area = {"areaCode": area, "privateNumType": "mobile-virtual"}
    a, other = story.mobile(), story.mobile()

    with story.step("AX: A gets an X of the area"):
        bound = success(story.bind_ax(origNum=a, **in_area), exactly=AX_BOUND, origNum=a)
        one, x = bound["subscriptionId"], bound["privateNum"]
        story.is_in(x, area)

    with story.step("AX: found by id, by A and by X, in this order"):
        ax_item(story, one, origNum=a, privateNum=x)
        for which in ({"origNum": a}, {"privateNum": x}, {"origNum": a, "privateNum": FOREIGN_X},
                      {"subscriptionId": one, "origNum": other, "privateNum": FOREIGN_X}):
            items = ax_items(story, **which)
            same("bindings", len(items), 1)
            holds(items[0], {"subscriptionId": one, "origNum": a, "privateNum": x})
        for which in ({"subscriptionId": NO_SUCH_ID}, {"origNum": other}, {"privateNum": FOREIGN_X},
                      {"subscriptionId": NO_SUCH_ID, "origNum": a}):
            refused(story.ax.query_ax(**which), 403, "1016001")
        refused(story.ax.query_ax(), 400, "1010002")

    with story.step("AX: an X has one A (1016002, 1011005), and is the app's own (1011001)"):
        refused(story.bind_ax_at_once(origNum=a, privateNum=x), 403, "1016002")
        refused(story.bind_ax_at_once(origNum=other, privateNum=x), 403, "1011005")
        refused(story.bind_ax_at_once(origNum=other, privateNum=FOREIGN_X), 403, "1011001")

    with story.step("AX: areaCode needs privateNumType, which is mobile-virtual"):
        malformed(story.bind_ax_at_once(origNum=other, areaCode=area), "privateNumType")
        malformed(story.bind_ax_at_once(origNum=other, areaCode=area, privateNumType="mobile"), "privateNumType")

    with story.step("AX: strict finds nothing in a city without X (1011002), loose elsewhere"):
        away = {"origNum": other, "areaCode": empty, "privateNumType": "mobile-virtual"}
        refused(story.bind_ax_at_once(**away), 403, "1011002")
        refused(story.bind_ax_at_once(**away, areaMatchMode="0"), 403, "1011002")
        answer = success(story.bind_ax(**away, areaMatchMode="1"), exactly=AX_BOUND)
        story.unbind(answer["subscriptionId"])

    with story.step("AX: every parameter of a bind is told again by the query"):
        given = {
            "recordFlag": "true", "recordHintTone": "record.wav", "privateSms": "false", "maxDuration": 30,
            "preVoice": {"callerHintTone": "a.wav", "calleeHintTone": "b.wav"}, "lastMinVoice": "last.wav",
            "userData": "user-1", "calleeNumDisplay": "1", "callDirection": 1, "turnFlag": "off",
        }
        answer = success(story.bind_ax(origNum=other, **in_area, **given), exactly=AX_BOUND)
        ax_item(story, answer["subscriptionId"], origNum=other, **given)
        story.unbind(answer["subscriptionId"])

    with story.step("AX: enumerations as strings or as JSON's own; unknown fields are ignored"):
        for on, off, number in (("true", "false", "1"), (True, False, 1)):
            answer = success(story.bind_ax(origNum=other, privateNumType="mobile-virtual", areaCode=area,
                                           areaMatchMode=number, recordFlag=on, privateSms=off,
                                           calleeNumDisplay=number, colour="red"), exactly=AX_BOUND)
            ax_item(story, answer["subscriptionId"], recordFlag="true", privateSms="false", calleeNumDisplay="1")
            story.unbind(answer["subscriptionId"])

    with story.step("AX: a parameter that is wrong or missing is named (1010002)"):
        for name, values in {
            "origNum": ["138", "+864008001234", "+8695588", "", "+86" + "1" * 30],
            "callDirection": [3], "turnFlag": ["perhaps"], "recordFlag": ["perhaps"], "privateSms": ["perhaps"],
            "areaMatchMode": ["2"], "maxDuration": [1441, -1], "userData": ["{}", "u" * 257],
        }.items():
            for value in values:
                malformed(story.bind_ax_at_once(**{"origNum": other, **in_area, name: value}), name)
        malformed(story.bind_ax_at_once(**in_area), "origNum")

    with story.step("AX: modify, by id and by X; origNum is the new A; what is not named stays"):
        ax_item(story, one, turnFlag="on", callDirection=0, maxDuration=0)
        changes = {"privateSms": "false", "recordFlag": "true", "maxDuration": 10, "lastMinVoice": "last.wav",
                   "userData": "user-2", "callDirection": 2, "turnFlag": "off"}
        success(story.ax.modify_ax(subscriptionId=one, **changes), exactly=())
        ax_item(story, one, origNum=a, **changes)
        moved = story.mobile()
        success(story.ax.modify_ax(privateNum=x, origNum=moved, privateSms=True, turnFlag="on"), exactly=())
        ax_item(story, one, privateNum=x, **{**changes, "origNum": moved, "privateSms": "true", "turnFlag": "on"})
        refused(story.ax.query_ax(origNum=a), 403, "1016001")
        malformed(story.ax.modify_ax(subscriptionId=one, maxDuration=1441, userData="no"), "maxDuration")
        malformed(story.ax.modify_ax(subscriptionId=one, origNum="+864008001234", userData="no"), "origNum")
        ax_item(story, one, origNum=moved, userData="user-2")
        refused(story.ax.modify_ax(subscriptionId=NO_SUCH_ID, maxDuration=1), 403, "1016001")
        refused(story.ax.modify_ax(maxDuration=1), 400, "1010002")

    ax_callee(story, one, x)
    story.unbind(one)
    ax_limit(story)
    ax_unbinding(story)


def ax_callee(story, one, x):
    callee = story.mobile()

    with story.step("AX: temporary callee by id and by X; replaced; 400 and 95 numbers too"):
        for which in ({"subscriptionId": one}, {"privateNum": x}, {"subscriptionId": one, "privateNum": FOREIGN_X}):
            success(story.ax.set_callee(**which, calleeNum=callee), exactly=())
        for number in ("+864008001234", "+8695588", story.fixed_line(story.options.area)):
            success(story.ax.set_callee(privateNum=x, calleeNum=number, duration=30, userData="call-1"), exactly=())

    with story.step("AX: temporary callee: origNum is not read, subscriptionId may be empty"):
        success(story.ax.set_callee(subscriptionId=one, origNum="nobody", calleeNum=callee), exactly=())
        success(story.ax.set_callee(subscriptionId="", privateNum=x, calleeNum=callee), exactly=())

    with story.step("AX: temporary callee: what is wrong"):
        malformed(story.ax.set_callee(privateNum=x), "calleeNum")
        malformed(story.ax.set_callee(privateNum=x, calleeNum="nobody"), "calleeNum")
        malformed(story.ax.set_callee(privateNum=x, calleeNum=callee, duration=-1), "duration")
        malformed(story.ax.set_callee(privateNum=x, calleeNum=callee, userData="{}"), "userData")
        refused(story.ax.set_callee(calleeNum=callee), 400, "1010002")
        refused(story.ax.set_callee(subscriptionId=NO_SUCH_ID, calleeNum=callee), 403, "1016001")
        refused(story.ax.set_callee(privateNum=FOREIGN_X, calleeNum=callee), 403, None)


def ax_limit(story):
    area, spare = story.options.area, story.options.spare_area
    in_area = {"areaCode": area, "privateNumType": "mobile-virtual"}
    in_spare = {"areaCode": spare, "privateNumType": "mobile-virtual"}
    a, other = story.mobile(), story.mobile()

    with story.step("AX: A holds five X and no sixth"):
        mine = [success(story.bind_ax(origNum=a, **in_area)) for _ in range(5)]
        same("different X", len({answer["privateNum"] for answer in mine}), 5)
        refused(story.bind_ax_at_once(origNum=a, **in_spare), 403, None, "upper limit")
        items = ax_items(story, origNum=a)
        same("bindings", sorted(item["subscriptionId"] for item in items),
             sorted(answer["subscriptionId"] for answer in mine))

    with story.step("AX: nor does a modify give a sixth"):
        answer = success(story.bind_ax(origNum=other, **in_spare))
        refused(story.ax.modify_ax(subscriptionId=answer["subscriptionId"], origNum=a), 403, None, "upper limit")
        ax_item(story, answer["subscriptionId"], origNum=other)
        story.unbind(answer["subscriptionId"])
    for answer in mine:
        story.unbind(answer["subscriptionId"])

    with story.step("AX: of eight at once A gets five"):
        answers = all_at_once([lambda: story.bind_ax_at_once(origNum=a, **in_spare) for _ in range(8)])
        got = [answer for answer in answers if answer["resultcode"] == "0"]
        want(len(got) == 5, f"{len(got)} X of one A: {', '.join(map(str, answers))}")
        same("different X", len({answer["privateNum"] for answer in got}), 5)
        for answer in got:
            story.unbind(answer["subscriptionId"])

    with story.step("AX: of several A at once that name one X, one gets it"):
        free = success(story.bind_ax(origNum=a, **in_area))
        x = free["privateNum"]
        story.unbind(free["subscriptionId"])
        for _ in range(20):
            answers = all_at_once([lambda who=story.mobile(): story.bind_ax_at_once(origNum=who, privateNum=x)
                                   for _ in range(6)])
            got = [answer for answer in answers if answer["resultcode"] == "0"]
            # None where another client's loose allocation has passed by.
            if got:
                break
        want(len(got) == 1, f"{len(got)} A of one X")
        for answer in answers:
            if answer is not got[0]:
                refused(answer, 403, "1011005")
        story.unbind(got[0]["subscriptionId"])


def ax_unbinding(story):
    in_area = {"areaCode": story.options.area, "privateNumType": "mobile-virtual"}
    a = story.mobile()

    with story.step("AX: unbind by X, by X and A, by a JSON body on DELETE; a freed X may be named again"):
        bound = success(story.bind_ax(origNum=a, **in_area))
        x = bound["privateNum"]
        for unbind in (lambda: story.ax.unbind_ax(privateNum=x),
                       lambda: story.ax.unbind_ax(privateNum=x, origNum=a),
                       lambda: story.ax.request("DELETE", AX, body={"privateNum": x}),
                       lambda: story.ax.request("DELETE", AX, body={"subscriptionId": bound["subscriptionId"]})):
            success(unbind(), exactly=())
            story.gone(bound["subscriptionId"])
            refused(story.ax.query_ax(subscriptionId=bound["subscriptionId"]), 403, "1016001")
            bound = success(story.bind_ax(origNum=a, privateNum=x), privateNum=x)
        story.unbind(bound["subscriptionId"])

    with story.step("AX: unbinding what is not bound (1011004)"):
        refused(story.ax.unbind_ax(subscriptionId=bound["subscriptionId"]), 403, "1011004")
        refused(story.ax.unbind_ax(privateNum=FOREIGN_X), 403, "1011004")
        refused(story.ax.unbind_ax(), 400, "1010002")


# ---- AXE ------------------------------------------------------------------------------------------------------------

AXE_BOUND = ("subscriptionId", "virtualNum", "extendNum")


def axe_is(story, subscription, **fields):
    """A query answers with a flat object."""
    answer = success(story.axe.query_axe(subscriptionId=subscription))
    holds(answer.body, {"subscriptionId": subscription, **fields})
    return answer


def axe(story):
    area, empty = story.options.area, story.options.empty_area
    a, other, callback = story.mobile(), story.mobile(), story.mobile()

    with story.step("AXE: A gets an X of the area and an extension"):
        bound = success(story.bind_axe(bindNum=a, areaCode=area), exactly=AXE_BOUND)
        one, x, e = bound["subscriptionId"], bound["virtualNum"], bound["extendNum"]
        story.is_in(x, area)
        want(isinstance(e, str) and re.fullmatch(r"\d{1,4}", e) and int(e) > 0, f"no extension of 1-4 digits: {e!r}")

    with story.step("AXE: found by id and by X with extension; 168 hours are the default"):
        axe_is(story, one, bindNum=a, virtualNum=x, extendNum=e, displayNumMode="0", recordFlag="false",
               callbackTone="", callbackNum="", timeUnit="0", bindExpiredTime=168)
        success(story.axe.query_axe(virtualNum=x, extendNum=e), subscriptionId=one, bindNum=a)
        refused(story.axe.query_axe(subscriptionId=NO_SUCH_ID), 403, "1016001")
        refused(story.axe.query_axe(virtualNum=FOREIGN_X, extendNum=e), 403, None)
        malformed(story.axe.query_axe(virtualNum=x), "extendNum")
        refused(story.axe.query_axe(), 400, "1010002")

    with story.step("AXE: an X carries many A, each with its extension"):
        answers = all_at_once([lambda who=story.mobile(): story.bind_axe(bindNum=who, virtualNum=x) for _ in range(8)])
        extensions = {success(answer, exactly=AXE_BOUND, virtualNum=x)["extendNum"] for answer in answers} | {e}
        same("extensions", len(extensions), 9)
        same("widths", {len(extension) for extension in extensions}, {len(e)})
        for answer in answers:
            story.unbind(answer["subscriptionId"])

    with story.step("AXE: A may hold extensions on different X"):
        second = success(story.bind_axe(bindNum=a, areaCode=area))
        story.unbind(second["subscriptionId"])

    with story.step("AXE: an extension of the client's choice, once only (1012010)"):
        for _ in range(50):
            chosen = str(random.randrange(1, 10 ** len(e))).rjust(len(e), "0")
            answer = story.bind_axe(bindNum=other, virtualNum=x, extendNum=chosen, userData="user-1")
            if answer["resultcode"] != "1012010":
                break
        success(answer, exactly=(*AXE_BOUND, "userData"), virtualNum=x, extendNum=chosen, userData="user-1")
        refused(story.bind_axe(bindNum=story.mobile(), virtualNum=x, extendNum=chosen), 403, "1012010")
        refused(story.bind_axe(bindNum=story.mobile(), virtualNum=x, extendNum=e), 403, "1012010")
        story.unbind(answer["subscriptionId"])
        answers = all_at_once([lambda who=story.mobile(): story.bind_axe(bindNum=who, virtualNum=x, extendNum=chosen)
                               for _ in range(6)])
        got = [answer for answer in answers if answer["resultcode"] == "0"]
        same("winners of one extension", len(got), 1)
        for answer in answers:
            if answer is not got[0]:
                refused(answer, 403, "1012010")
        story.unbind(got[0]["subscriptionId"])

    with story.step("AXE: strict finds nothing in a city without X, loose elsewhere"):
        refused(story.bind_axe(bindNum=other, areaCode=empty), 403, None, "Insufficient")
        refused(story.bind_axe(bindNum=other, areaCode=empty, areaMatchMode="0"), 403, None, "Insufficient")
        story.unbind(success(story.bind_axe(bindNum=other, areaCode=empty, areaMatchMode="1"))["subscriptionId"])
        refused(story.bind_axe(bindNum=other, virtualNum=FOREIGN_X), 403, None)

    with story.step("AXE: every parameter of a bind is told again by the query"):
        given = {
            "displayNumMode": "1", "recordFlag": "true", "recordHintTone": "record.wav", "callbackNum": callback,
            "timeUnit": "1", "bindExpiredTime": 43_200, "callbackExpiredTime": 60, "userData": "user-2",
        }
        answer = success(story.bind_axe(bindNum=other, virtualNum=x, **given), exactly=(*AXE_BOUND, "userData"))
        axe_is(story, answer["subscriptionId"], bindNum=other, virtualNum=x, callbackTone="", **given)
        story.unbind(answer["subscriptionId"])
        answer = success(story.bind_axe(bindNum=other, virtualNum=x, bindExpiredTime=0, callbackTone="t.wav"))
        axe_is(story, answer["subscriptionId"], bindExpiredTime=0, timeUnit="0", callbackTone="t.wav", callbackNum="")
        story.unbind(answer["subscriptionId"])

    with story.step("AXE: enumerations as strings or as JSON's own; unknown fields are ignored"):
        for on, number in (("true", "1"), (True, 1)):
            answer = success(story.bind_axe(bindNum=other, areaCode=area, areaMatchMode=number, recordFlag=on,
                                            displayNumMode=number, timeUnit=number, bindExpiredTime=10,
                                            callbackExpiredTime=5, maxDuration=3, privateSms="true", colour="red"),
                             exactly=AXE_BOUND)
            axe_is(story, answer["subscriptionId"], recordFlag="true", displayNumMode="1", timeUnit="1")
            story.unbind(answer["subscriptionId"])

    with story.step("AXE: callbackTone or callbackNum, not both"):
        refused(story.bind_axe(bindNum=other, areaCode=area, callbackTone="t.wav", callbackNum=callback), 400, "1010002")

    with story.step("AXE: a parameter that is wrong or missing is named (1010002)"):
        for name, values in {
            "bindNum": ["138", "+864008001234", "+8695588", ""],
            "extendNum": ["12345", "ab", "0" * len(e)],
            "displayNumMode": ["2"], "recordFlag": ["perhaps"], "timeUnit": ["2"], "areaMatchMode": ["2"],
            "bindExpiredTime": [721, -1], "recordHintTone": ["r" * 129], "callbackTone": ["c" * 129],
            "callbackNum": ["+86" + "1" * 30], "userData": ["{}", "u" * 257],
        }.items():
            for value in values:
                malformed(story.bind_axe(**{"bindNum": other, "virtualNum": x, name: value}), name)
        malformed(story.bind_axe(bindNum=other, virtualNum=x, timeUnit="1", bindExpiredTime=43_201), "bindExpiredTime")
        malformed(story.bind_axe(areaCode=area), "bindNum")

    axe_modify(story, one, x, e, a)
    axe_unbinding(story, one, x, e)


def axe_modify(story, one, x, e, a):
    callback = story.mobile()

    with story.step("AXE: modify; the callback's two fields absent, filled and emptied"):
        success(story.axe.modify_axe(subscriptionId=one, callbackTone="t.wav"), exactly=())
        axe_is(story, one, bindNum=a, callbackTone="t.wav", callbackNum="")
        success(story.axe.modify_axe(virtualNum=x, extendNum=e, userData="user-3"), exactly=())
        axe_is(story, one, bindNum=a, callbackTone="t.wav", callbackNum="", userData="user-3", virtualNum=x)
        success(story.axe.modify_axe(subscriptionId=one, callbackTone="", callbackNum=callback), exactly=())
        axe_is(story, one, callbackTone="", callbackNum=callback, userData="user-3")
        success(story.axe.modify_axe(subscriptionId=one, callbackNum=""), exactly=())
        axe_is(story, one, callbackTone="", callbackNum="", userData="user-3")
        answer = story.axe.modify_axe(subscriptionId=one, callbackTone="t.wav", callbackNum=callback, userData="no")
        refused(answer, 400, "1010002")
        axe_is(story, one, callbackTone="", callbackNum="", userData="user-3")

    with story.step("AXE: timeUnit comes with both expiry fields"):
        malformed(story.axe.modify_axe(subscriptionId=one, timeUnit="1", bindExpiredTime=60), "callbackExpiredTime")
        malformed(story.axe.modify_axe(subscriptionId=one, timeUnit="1", callbackExpiredTime=60), "bindExpiredTime")
        axe_is(story, one, timeUnit="0", bindExpiredTime=168)
        times = {"timeUnit": "1", "bindExpiredTime": 120, "callbackExpiredTime": 60}
        success(story.axe.modify_axe(subscriptionId=one, **times), exactly=())
        axe_is(story, one, **times)

    with story.step("AXE: nobody's binding cannot be modified"):
        refused(story.axe.modify_axe(subscriptionId=NO_SUCH_ID, userData="no"), 403, "1016001")
        refused(story.axe.modify_axe(userData="no"), 400, "1010002")


def axe_unbinding(story, one, x, e):
    with story.step("AXE: unbind by id, by X with extension, by JSON bodies on DELETE"):
        success(story.axe.unbind_axe(virtualNum=x, extendNum=e), exactly=())
        story.gone(one)
        refused(story.axe.query_axe(subscriptionId=one), 403, "1016001")
        refused(story.axe.unbind_axe(virtualNum=x, extendNum=e), 403, "1016001")
        for by_id in (False, True):
            bound = success(story.bind_axe(bindNum=story.mobile(), virtualNum=x, extendNum=e), extendNum=e)
            body = ({"subscriptionId": bound["subscriptionId"]} if by_id else {"virtualNum": x, "extendNum": e})
            success(story.axe.request("DELETE", AXE, body=body), exactly=())
            story.gone(bound["subscriptionId"])
            refused(story.axe.query_axe(virtualNum=x, extendNum=e), 403, "1016001")

    with story.step("AXE: unbinding what is not bound (1016001)"):
        refused(story.axe.unbind_axe(subscriptionId=one), 403, "1016001")
        refused(story.axe.unbind_axe(virtualNum=FOREIGN_X, extendNum=e), 403, None)
        malformed(story.axe.unbind_axe(virtualNum=x), "extendNum")
        refused(story.axe.unbind_axe(), 400, "1010002")


# ---- Calls ----------------------------------------------------------------------------------------------------------

def calls(story):
    clients = (story.axb, story.ax, story.axe)

    with story.step("a recording that nobody made (1012007)"):
        for client in clients:
            answer = client.record_link(recordDomain="ostor.huawei.com", fileName="19012309153712050118304.wav")
            refused(answer, 403, "1012007")
            want("Location" not in answer.headers, f"an address of nothing: {answer}")
        for name in ("../../etc/passwd", "..%2f..%2fetc%2fpasswd", "a" * 300 + ".wav", "\u5f55\u97f3.wav"):
            well_formed(answer := story.axb.record_link(recordDomain="ostor.huawei.com", fileName=name))
            want(answer.status in (400, 403), f"an odd name: {answer}")
        malformed(story.axb.request("GET", RECORD, query={"recordDomain": "ostor.huawei.com"}), "fileName")

    with story.step("a call that nobody makes cannot be stopped"):
        session = "1202_1051_4294967295_20190124070250@callenabler246.huaweicaas.com"
        for client in clients:
            refused(client.stop_call(sessionid=session, signal="call_stop"), 403, None)
        malformed(story.axb.stop_call(sessionid=session, signal="call_start"), "signal")
        malformed(story.axb.stop_call(sessionid=session), "signal")
        malformed(story.axb.stop_call(signal="call_stop"), "sessionid")

    with story.step("an app has one mode (1010040)"):
        number = story.mobile()
        for answer in (
            story.axb.bind_ax(origNum=number), story.axb.query_axe(subscriptionId=NO_SUCH_ID),
            story.ax.bind_axe(bindNum=number), story.ax.unbind_axb(subscriptionId=NO_SUCH_ID),
            story.axe.bind_axb(callerNum=number, calleeNum=story.mobile()),
            story.axe.set_callee(subscriptionId=NO_SUCH_ID, calleeNum=number),
            story.axb.modify_ax(subscriptionId=NO_SUCH_ID), story.ax.query_axb(subscriptionId=NO_SUCH_ID),
        ):
            refused(answer, 403, "1010040")

    with story.step("no API at another path (404)"):
        for path in ("/", "/rest", AXB + "/more", "/rest/caas/privatenumber/v1.0"):
            same("HTTP status of " + path, story.axb.request("GET", path).status, 404)


# ---- Authentication -------------------------------------------------------------------------------------------------

def authentications(story):
    options = story.options
    generation = options.generation
    signature = "X-" + generation
    bound = success(story.bind_axb(callerNum=story.mobile(), calleeNum=story.mobile(), areaCode=options.area))
    which = {"subscriptionId": bound["subscriptionId"]}
    signed = lambda **more: authentication(generation, options.key_axb, options.secret, **more)
    ask = lambda headers: story.axb.request("GET", AXB, query=which, headers=headers)

    def without(name):
        headers = signed()
        del headers[name]
        return headers

    def replaced(name, old, new):
        headers = signed()
        changed = re.sub(old, new, headers[name], count=1)
        want(changed != headers[name], f"{old} is not in {headers[name]}")
        return {**headers, name: changed}

    with story.step("authentication: both generations, and the spellings of real clients"):
        for one in GENERATIONS:
            success(ask(authentication(one, options.key_axb, options.secret)))
        success(ask({name: value.replace(",", ", ").replace(",  ", ", ") for name, value in signed().items()}))
        success(ask({name: value.replace(", ", ",") for name, value in signed().items()}))
        success(ask({name.lower(): value for name, value in signed().items()}))
        success(ask(signed(nonce=f"{time.time_ns() // 1000:x}"[-13:])))
        success(ask(signed(nonce="".join(random.choices("0123456789ABCDEFabcdef", k=128)))))

    with story.step("authentication: a clock that takes Beijing's time for UTC"):
        success(ask(signed(created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 8 * 3600)))))

    with story.step("authentication: a header is missing"):
        refused(ask(without("Authorization")), 400, "1023006")
        refused(ask({}), 400, "1023006")
        refused(ask(without(signature)), 400, "1023033" if generation == "AKSK" else None, signature)

    with story.step("authentication: realm, profile, type missing or wrong"):
        for old, new, code in (
            ('realm="SDP",', "", "1023007"),
            (',profile="UsernameToken"', "", "1023008"),
            ('"SDP"', '"sdp2"', "1023009"),
            ('"UsernameToken"', '"Token"', "1023010"),
            ('"Appkey"', '"Apikey"', "1023011"),
            (',type="Appkey"', "", "1023012"),
        ):
            refused(ask(replaced("Authorization", old, new)), 400, code)

    with story.step("authentication: a part of the token is missing"):
        for part, name, code in (("Username", "UserName", "1023034"), ("Nonce", "Nonce", "1023035"),
                                 ("Created", "Created", "1023036"), ("PasswordDigest", "PasswordDigest", "1023037")):
            answer = ask(replaced(signature, rf'{part}="[^"]*"(, )?', ""))
            refused(answer, 400, code if generation == "AKSK" else None, name)
            want(signature in answer["resultdesc"], f"the text does not name {signature}: {answer}")

    with story.step("authentication: nobody's app_key (1010003)"):
        answer = ask(authentication(generation, "nobody-" + str(story.run), options.secret))
        refused(answer, answer.status, "1010003")
        want(answer.status in (400, 403), f"HTTP 400 or 403 is documented: {answer}")

    # One a run: after a few the platform locks the address out (1020176).
    with story.step("authentication: a wrong digest"):
        refused(ask(signed() | {signature: authentication(generation, options.key_axb, "wrong")[signature]}), 403, None)

    with story.step("authentication: a nonce that has been used"):
        headers = signed()
        success(ask(headers))
        refused(ask(headers), 403, None)
        # A request that would change something changes nothing.
        headers = signed()
        parties = {"callerNum": story.mobile(), "calleeNum": story.mobile(), "areaCode": options.area}
        again = success(story.hold(story.axb.unbind_axb, story.axb.request("POST", AXB, body=parties, headers=headers)))
        other = {**parties, "callerNum": story.mobile(), "calleeNum": story.mobile()}
        refused(story.hold(story.axb.unbind_axb, story.axb.request("POST", AXB, body=other, headers=headers)), 403, None)
        story.unbind(again["subscriptionId"])

    with story.step("authentication comes before the body"):
        refused(story.axb.request("POST", AXB, raw=b"{", headers={}), 400, "1023006")
    story.unbind(bound["subscriptionId"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--url", required=True, help="e.g. https://127.0.0.1:18443")
    parser.add_argument("--key-axb", default="bench-axb")
    parser.add_argument("--key-ax", default="bench-ax")
    parser.add_argument("--key-axe", default="bench-axe")
    parser.add_argument("--secret", default="bench-secret", help="of all three")
    parser.add_argument("--generation", choices=GENERATIONS, default="AKSK")
    parser.add_argument("--area", default="0755", help="a city where each app has five X, and no other client binds")
    parser.add_argument("--spare-area", default="021", help="a city with more X of the AX app")
    parser.add_argument("--empty-area", default="0571", help="a city without X")
    options = parser.parse_args()

    story = Story(options)
    try:
        for part in (Story.offline, axb, ax, axe, calls, authentications):
            part(story)
        with story.step("nothing is left"):
            want(not story.held, f"still bound: {list(story.held)}")
    except Exception as error:  # A broken connection or body is a difference too.
        told = error if isinstance(error, Difference) else repr(error)
        print(f"DIFFERENT at step {story.steps + 1} ({story.step_name}): {told}", file=sys.stderr)
        return 1
    finally:
        story.clean_up()
    print(f"{story.steps} steps, {options.generation}, {options.url}: as documented")
    return 0


if __name__ == "__main__":
    sys.exit(main())
