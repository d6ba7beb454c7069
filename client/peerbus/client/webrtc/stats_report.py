"""
Collects the figures of a call from its parts.

Owns the way from counters to `CallStats`. Never keeps anything; what is needed for rates is in `Rates`.
"""

from __future__ import annotations

from collections.abc import Sequence

from peerbus.client.webrtc.connection import CallConnection
from peerbus.client.webrtc.group_call import GroupCall
from peerbus.client.webrtc.peer import SfuPeer
from peerbus.client.webrtc.publication import Publication
from peerbus.client.webrtc.reception import Reception
from peerbus.client.webrtc.records import CallStateName
from peerbus.client.webrtc.stats import CallStats, ConnectionStats, Rates, ReceivedStats, SentStats


async def report(
    now_ms: int,
    state: CallStateName,
    connection: CallConnection | None,
    publications: Sequence[Publication],
    reception: Reception,
    rates: Rates,
    call: GroupCall,
) -> CallStats:
    """Everything at this moment."""
    sent: list[SentStats] = []
    received: list[ReceivedStats] = []
    path = ConnectionStats(state=state)
    if connection is not None:
        for publication in publications:
            entry = await _sent(now_ms, connection, publication, rates)
            if entry is not None:
                sent.append(entry)
        received = [_received(now_ms, connection.peer, name, reception, rates) for name in reception.slots]
        round_trips = [entry.round_trip_ms for entry in sent if entry.round_trip_ms is not None]
        path = await _path(now_ms, state, connection, min(round_trips, default=None), rates)
    rates.finish()
    return CallStats(
        time_ms=now_ms,
        connection=path,
        sent=sent,
        received=received,
        data=call.data_stats,
        mode=call.mode,
        term=call.term,
        peers=await call.peer_stats(),
    )


async def _path(
    now_ms: int, state: CallStateName, connection: CallConnection, round_trip_ms: float | None, rates: Rates
) -> ConnectionStats:
    counts = await connection.peer.transport_counts()
    local, remote = connection.peer.path or (None, None)
    return ConnectionStats(
        state=state,
        local_address=local,
        remote_address=remote,
        round_trip_ms=round_trip_ms,
        packets_sent=counts.packets_sent,
        packets_received=counts.packets_received,
        bytes_sent=counts.bytes_sent,
        bytes_received=counts.bytes_received,
        send_bits_per_s=8 * rates.per_s(f"{connection.id} out", now_ms, counts.bytes_sent),
        receive_bits_per_s=8 * rates.per_s(f"{connection.id} in", now_ms, counts.bytes_received),
    )


async def _sent(
    now_ms: int, connection: CallConnection, publication: Publication, rates: Rates
) -> SentStats | None:
    line = connection.line_of(publication)
    if line is None:
        return None
    counts = await connection.peer.line_counts(line)
    key = f"{connection.id} sent {publication.id}"
    return SentStats(
        publication=publication.id,
        media=publication.media,
        source=publication.source,
        is_muted=publication.is_muted,
        codec=counts.codec or None,
        bytes=counts.bytes,
        packets=counts.packets,
        bits_per_s=8 * rates.per_s(key, now_ms, counts.bytes),
        packets_lost=counts.lost,
        jitter_ms=counts.jitter_ms,
        frames=publication.feed.frames,
        frames_per_s=rates.per_s(f"{key} frames", now_ms, publication.feed.frames),
        round_trip_ms=counts.rtt_ms,
        frames_sealed=counts.frames_sealed,
    )


def _received(now_ms: int, peer: SfuPeer, name: str, reception: Reception, rates: Rates) -> ReceivedStats:
    mid, before = reception.slots[name]
    track = reception.tracks[name]
    counts = peer.slot_counts(mid)
    width, height = counts.size or (None, None)
    key = f"{id(peer)} received {name}"
    size, frames = counts.bytes - before.bytes, counts.frames - before.frames
    return ReceivedStats(
        publication=name,
        identity=track.participant,
        name=track.name,
        media=track.kind,
        source=track.source,
        is_muted=track.is_muted,
        codec=counts.codec or None,
        bytes=size,
        packets=counts.packets - before.packets,
        bits_per_s=8 * rates.per_s(key, now_ms, size),
        packets_lost=counts.lost - before.lost,
        jitter_ms=counts.jitter_ms,
        frames=frames,
        frames_per_s=rates.per_s(f"{key} frames", now_ms, frames),
        width=width,
        height=height,
        frames_decoded=counts.frames_decoded - before.frames_decoded,
        frames_dropped=track.frames_dropped,
        encryption=track.encryption,
        frames_opened=track.frames_opened,
        frames_refused=track.frames_refused,
    )
