"""
What Prometheus gets to see of one server.

Owns the names and the meaning of the metrics; reads the counters that the hub keeps anyway. Never counts itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from peerbus.signaling.calls import Calls
from peerbus.signaling.groups import Groups
from peerbus.signaling.server import Server


class ServerMetrics(Collector):
    """A collector over one server."""

    def __init__(self, server: Server) -> None:
        self._server: Final = server
        self._registry: Final = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def exposition(self) -> bytes:
        """The text format of Prometheus, version 0.0.4."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """The metric families, as Prometheus asks for them."""
        membership = self._server.membership
        counters = membership.dispatch.counters
        members = membership.members.values()
        attached = sum(member.session.is_attached for member in members)
        yield GaugeMetricFamily("peerbus_channels", "Channels with members.", len(membership.channels))
        sessions = GaugeMetricFamily("peerbus_sessions", "Sessions by state.", labels=["state"])
        sessions.add_metric(["present"], attached)
        sessions.add_metric(["away"], len(membership.members) - attached)
        yield sessions
        yield CounterMetricFamily("peerbus_joins", "Sessions that began.", counters.joins)
        yield CounterMetricFamily("peerbus_resumes", "Sessions that were resumed.", counters.resumes)
        sends = CounterMetricFamily("peerbus_sends", "Messages taken, by delivery.", labels=["delivery"])
        sends.add_metric(["durable"], counters.sends_durable)
        sends.add_metric(["live"], counters.sends_live)
        sends.add_metric(["lossy"], counters.sends_lossy)
        yield sends
        yield CounterMetricFamily("peerbus_deliveries", "Messages put into outboxes.", counters.deliveries)
        dropped = counters.lossy_dropped + sum(member.session.outbox.lossy_dropped for member in members)
        yield CounterMetricFamily(
            "peerbus_lossy_dropped", "Lossy messages dropped for slow readers.", dropped
        )
        yield CounterMetricFamily(
            "peerbus_live_resets", "Live classes that overflowed.", counters.live_resets
        )
        yield CounterMetricFamily("peerbus_errors", "Requests refused.", counters.errors)
        if self._server.calls is not None:
            yield from _of_calls(self._server.calls)
        if self._server.groups is not None:
            yield from _of_groups(self._server.groups)


def _of_calls(calls: Calls) -> Iterator[Metric]:
    states = GaugeMetricFamily("peerbus_workers", "Media workers by state.", labels=["state"])
    for state, count in calls.worker_states().items():
        states.add_metric([state], count)
    yield states
    yield GaugeMetricFamily("peerbus_rooms", "Channels with a call.", calls.rooms)
    participants = GaugeMetricFamily("peerbus_participants", "Participants of calls.", labels=["worker"])
    cpu = GaugeMetricFamily("peerbus_worker_cpu", "Cores that a worker uses.", labels=["worker"])
    events = CounterMetricFamily(
        "peerbus_worker_events", "What happened in a worker, by its own names.", labels=["worker", "event"]
    )
    for name, load, _rooms in calls.workers:
        participants.add_metric([name], load.participants)
        cpu.add_metric([name], load.cpu_share)
        for event, count in load.counts.items():
            events.add_metric([name, event], count)
    yield from (participants, cpu, events)
    counters = calls.counters
    yield CounterMetricFamily("peerbus_placements", "Rooms given to workers.", counters.placements)
    signals = CounterMetricFamily(
        "peerbus_signals", "Signals passed on, by whom they are for.", labels=["to"]
    )
    signals.add_metric(["worker"], counters.forwarded)
    signals.add_metric(["member"], counters.delivered)
    yield signals
    yield CounterMetricFamily(
        "peerbus_stale_terms", "What workers said of rooms that are not theirs.", counters.stale
    )


def _of_groups(groups: Groups) -> Iterator[Metric]:
    modes = GaugeMetricFamily("peerbus_groups", "Groups of peers by mode.", labels=["mode"])
    for mode, count in sorted(groups.modes().items()):
        modes.add_metric([mode], count)
    yield modes
    yield GaugeMetricFamily("peerbus_group_members", "Members of all groups.", groups.members)
    counters = groups.counters
    ends = CounterMetricFamily(
        "peerbus_group_proposals", "Modes that were proposed, by what became of them.", labels=["end"]
    )
    ends.add_metric(["switched"], counters.switches)
    ends.add_metric(["rolled_back"], counters.rolled_back)
    yield ends
    yield CounterMetricFamily("peerbus_group_hosts", "How often a member became host.", counters.hosts)
    yield CounterMetricFamily(
        "peerbus_stale_renewals", "Renewals of hosts that are not host, or not any more.", counters.stale
    )
