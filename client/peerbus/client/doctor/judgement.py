"""
What the facts of a connection test mean, and what to do about it, in plain words.

Owns the verdict: which of the causes is named first. Never tries anything. The page /test has the same modules in
TypeScript; both run `tests/vectors/doctor`.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from peerbus.client.doctor.device_findings import device_findings, headline_of_camera
from peerbus.client.doctor.facts import Facts
from peerbus.client.doctor.finding import Finding, Status
from peerbus.client.doctor.line_findings import is_line_bad, line_findings
from peerbus.client.doctor.network_findings import headlines_of_turn, network_findings
from peerbus.client.doctor.server_findings import headline_of, server_findings
from peerbus.client.doctor.signs import is_refused, is_udp_blocked, worked


class Verdict(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The line on top. `fail`: something without which calls or messages do not work."""

    status: Status
    headline: str
    remedies: tuple[str, ...] = ()


class Judgement(Struct, frozen=True, kw_only=True):
    """All that is said."""

    verdict: Verdict
    findings: tuple[Finding, ...]


def judge(facts: Facts) -> Judgement:
    """What the facts mean."""
    findings = (
        *server_findings(facts),
        *network_findings(facts),
        *line_findings(facts),
        *device_findings(facts),
    )
    # What fails goes before what could be better.
    causes = [one for one in findings if one.status == "fail"]
    status: Status = "fail" if causes else "ok"
    causes += [one for one in findings if one.status == "warn"]
    if causes and status == "ok":
        status = "warn"
    headlines = [*_headlines(facts), *(one.summary for one in causes), "Everything works."]
    remedies = tuple(dict.fromkeys(finding.remedy for finding in causes if finding.remedy))
    return Judgement(
        verdict=Verdict(status=status, headline=headlines[0], remedies=remedies), findings=findings
    )


def _headlines(facts: Facts) -> Iterator[str]:
    """The causes behind several findings, the gravest first."""
    if facts.is_secure is False:
        yield "This page is not secure: camera, microphone and encryption are switched off by the browser."
    no_way = headline_of(facts)
    if no_way is not None:
        yield no_way
        return
    if is_udp_blocked(facts):
        if worked(facts.relay_call):
            yield "UDP is blocked on this network: calls go through the TURN server by TCP."
        else:
            yield "UDP is blocked on this network."
    if any(is_refused(server) for server in facts.servers or ()):
        yield "The TURN server refuses the credential."
    if facts.call is not None and not facts.call.is_ok:
        return  # What the call's own line says.
    yield from headlines_of_turn(facts)
    camera = headline_of_camera(facts)
    if camera is not None:
        yield camera
    if is_line_bad(facts):
        yield "The line is slow, or loses too much."
