"""Clients that keep to a rate: what is due first (a poll, a report) is asked, else something is submitted."""

import asyncio
import heapq
import random
import time
from collections import Counter
from dataclasses import dataclass
from urllib.parse import quote

# Of 100 submissions: how many the provider refuses, cannot solve, never answers. The rest it solves.
REFUSED, UNSOLVABLE, NEVER = 2, 6, 2
# Shares of requests whose client hangs up: with the request sent, and in the middle of it.
HANG_UP, HALF_SENT = 0.01, 0.005
POLL_EVERY = 1.0
# Polls after which a client gives up on what is never answered.
POLLS_OF_NEVER = 3
# A request without an answer after this long is an error, also on a busy machine.
ANSWER_WAIT = 30.0
CONNECTIONS_MAX = 400


@dataclass(slots=True)
class Solve:
    number: int
    tenant: int
    wish: str
    task: str = ""
    polls: int = 0
    # A poll whose answer nobody waited for: the solution may have gone out with it.
    unread_poll: bool = False


class Connection:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def ask(self, target):
        self.writer.write(request(target))
        head = await self.reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        fields = head.lower()
        at = fields.index(b"content-length:") + 15
        length = int(fields[at : fields.index(b"\r", at)])
        body = await self.reader.readexactly(length)
        return status, body.decode(), b"connection: close" not in fields


class Clients:
    def __init__(self, address, keys, rate, seed=1):
        self.host, port = address.rsplit(":", 1)
        self.port = int(port)
        self.keys, self.rate = keys, rate
        self.random = random.Random(seed)
        self.idle, self.due, self.running = [], [], set()
        self.count = Counter()
        self.faults = []
        # By task: whose, and its mark, once its solution was received, and where it may have been.
        self.delivered, self.perhaps = {}, {}
        self.latencies = []

    async def work(self, seconds):
        """Asks `rate` requests a second, then comes to an end with what is open."""
        begin = time.monotonic()
        sent = 0
        while (now := time.monotonic() - begin) < seconds:
            while sent < now * self.rate and len(self.running) < CONNECTIONS_MAX:
                self.start(self.next_action(begin + now))
                sent += 1
            # With all connections taken the rate is not kept; what is missed is not made up for.
            missed = now - sent / self.rate
            if missed > 1.0:
                sent = int(now * self.rate)
            await asyncio.sleep(0.005)
        self.count["paced requests"] = self.count["requests"]
        while self.due or self.running:
            while self.due and self.due[0][0] <= time.monotonic() and len(self.running) < CONNECTIONS_MAX:
                self.start(self.pop())
            await asyncio.sleep(0.01)
        for connection in self.idle:
            connection.writer.close()

    def next_action(self, now):
        return self.pop() if self.due and self.due[0][0] <= now else self.submit()

    def pop(self):
        _, _, action, solve = heapq.heappop(self.due)
        return action(solve)

    def later(self, seconds, action, solve):
        heapq.heappush(self.due, (time.monotonic() + seconds, solve.number, action, solve))

    def start(self, action):
        task = asyncio.ensure_future(action)
        self.running.add(task)
        task.add_done_callback(self.ended)

    def ended(self, task):
        self.running.discard(task)
        if not task.cancelled() and task.exception():
            self.fault("a client broke off", repr(task.exception()))

    def fault(self, what, *details):
        self.count["faults"] += 1
        if len(self.faults) < 20:
            self.faults.append(f"{what}: {' '.join(map(str, details))}")

    async def submit(self):
        self.count["submissions"] += 1
        number = self.count["submissions"]
        dice = self.random.randrange(100)
        page = f"solve={self.random.randrange(200, 2500)}ms"
        if dice < REFUSED:
            wish, page = "refused", "submit_error=ERROR_BAD_PARAMETERS"
        elif dice < REFUSED + UNSOLVABLE:
            wish, page = "unsolvable", page + "&error=ERROR_CAPTCHA_UNSOLVABLE"
        elif dice < REFUSED + UNSOLVABLE + NEVER:
            wish, page = "never", "never"
        else:
            wish, page = "solved", f"{page}&answer=mark{number}"
        solve = Solve(number, self.random.randrange(len(self.keys)), wish)
        page = quote(f"https://sim.test/?{page}", safe="")
        key = self.keys[solve.tenant]
        answer = await self.ask(f"/in.php?key={key}&method=turnstile&sitekey=s&pageurl={page}")
        if answer is None:
            self.count["submissions hung up"] += 1
        elif wish == "refused":
            if answer != "ERROR_BAD_PARAMETERS":
                self.fault("a refused submission", answer)
        elif answer.startswith("OK|") and answer[3:].isdigit():
            solve.task = answer[3:]
            self.later(POLL_EVERY, self.poll, solve)
        else:
            self.fault("a submission", answer)

    async def poll(self, solve):
        solve.polls += 1
        answer = await self.ask(f"/res.php?key={self.keys[solve.tenant]}&action=get&id={solve.task}")
        again = True
        if answer is None:
            # It may have been solved; most ask again, some are gone for ever.
            solve.unread_poll = True
            again = self.random.random() < 0.7
        elif answer == "CAPCHA_NOT_READY":
            again = solve.wish != "never" or solve.polls < POLLS_OF_NEVER
        elif solve.wish == "solved" and answer == f"OK|mark{solve.number}":
            again = False
            self.delivered[solve.task] = (solve.tenant, solve.number)
            if self.random.random() < 0.2:
                self.later(0.5, self.report, solve)
        elif solve.wish == "unsolvable" and answer == "ERROR_CAPTCHA_UNSOLVABLE":
            again = False
        else:
            again = False
            self.fault(f"a poll of {solve}", answer)
        if again:
            self.later(POLL_EVERY, self.poll, solve)
        elif solve.wish == "solved" and solve.unread_poll and solve.task not in self.delivered:
            self.perhaps[solve.task] = (solve.tenant, solve.number)

    async def report(self, solve):
        what = self.random.choice(("reportgood", "reportbad"))
        answer = await self.ask(f"/res.php?key={self.keys[solve.tenant]}&action={what}&id={solve.task}")
        if answer not in (None, "OK_REPORT_RECORDED"):
            self.fault("a report", answer)

    async def ask(self, target):
        """The answer's text; `None` when this client was one that hangs up."""
        self.count["requests"] += 1
        dice = self.random.random()
        begin = time.monotonic()
        connection, again = None, False
        try:
            connection = await self.connection()
            if dice < HANG_UP + HALF_SENT:
                self.count["hang-ups"] += 1
                whole = request(target)
                connection.writer.write(whole if dice < HANG_UP else whole[: len(whole) // 2])
                await connection.writer.drain()
                # At once, or when the answer is on its way.
                await asyncio.sleep(self.random.choice((0, 0.002, 0.05)))
                return None
            status, text, again = await asyncio.wait_for(connection.ask(target), ANSWER_WAIT)
        except (OSError, EOFError, asyncio.TimeoutError) as error:
            self.fault("no answer", repr(error), target[:9])
            return None
        finally:
            if again:
                self.idle.append(connection)
            elif connection:
                connection.writer.close()
        self.latencies.append(time.monotonic() - begin)
        if status != 200:
            self.fault("a status", status, text)
        return text

    async def connection(self):
        while self.idle:
            connection = self.idle.pop()
            # The sidecar closes what nobody used for a while.
            if not connection.reader.at_eof():
                return connection
            connection.writer.close()
        self.count["connections"] += 1
        return Connection(*await asyncio.open_connection(self.host, self.port))


def request(target):
    return f"GET {target} HTTP/1.1\r\nHost: solvegate\r\n\r\n".encode()
