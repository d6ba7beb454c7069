"""
Every limit of the server, in one place.

Owns names, defaults and units. Never enforces one: whoever does takes this object. Each field can be set by
`PEERBUS_<NAME IN CAPITALS>` or in code; exceeding one is a typed error (PROTOCOL.md, section 10).
"""

from __future__ import annotations

import msgspec

from peerbus.protocol.session.outbox import OutboxLimits
from peerbus.signaling.log.interface import MailLimits
from peerbus.signaling.rate import UNLIMITED_PER_S


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one server; all are counts unless the suffix names a unit."""

    # One transport message, the first one of a connection, one message.
    frame_bytes: int = 1_048_576
    connect_bytes: int = 65_536
    message_bytes: int = 262_144
    # What is said to a media worker (an offer with many slots is long), and to a group of peers.
    call_signal_bytes: int = 262_144
    group_request_bytes: int = 8_192
    attributes_bytes: int = 16_384
    recipients: int = 200
    capabilities: int = 32
    types: int = 64
    # Rates of one session; a burst of twice the rate is taken.
    send_rate_per_s: int = 50
    lossy_rate_per_s: int = 200
    request_rate_per_s: int = 50
    # Rates of all sessions of one channel, and of one developer key with its tokens, together.
    channel_send_rate_per_s: int = 5_000
    key_send_rate_per_s: int = 10_000
    # A media worker speaks for many, and hears from many.
    worker_send_rate_per_s: int = 5_000
    worker_live_kept_bytes: int = 67_108_864
    worker_live_kept_frames: int = 65_536
    # Connections, channels and sessions.
    connections: int = 60_000
    members_per_channel: int = 100
    channels: int = 100_000
    sessions: int = 50_000
    connects_per_address_per_s: int = 50
    failed_connects_per_address_per_min: int = 60
    bad_frames_per_connection: int = 16
    # A temporary key is good for so long at most.
    temporary_key_ttl_ms: int = 2_592_000_000
    # So long credentials of TURN servers are good.
    turn_credential_ttl_ms: int = 3_600_000
    # Outboxes, per session.
    live_kept_bytes: int = 1_048_576
    live_kept_frames: int = 8_192
    live_kept_ms: int = 30_000
    durable_pending_bytes: int = 1_048_576
    durable_pending_frames: int = 4_096
    lossy_pending_bytes: int = 65_536
    lossy_pending_frames: int = 64
    socket_buffer_bytes: int = 262_144
    # History.
    history_page: int = 500
    history_page_bytes: int = 786_432
    messages_per_channel: int = 1_000_000
    idempotency_retention_ms: int = 86_400_000
    # Mailboxes of claimed names.
    claims_per_channel: int = 10_000
    mailbox_messages: int = 5_000
    mailbox_bytes: int = 16_777_216
    mailbox_ttl_ms: int = 2_592_000_000
    append_queue: int = 20_000
    append_queue_bytes: int = 67_108_864
    # Groups of peers, and what one member of one may ask for; as many at once as in a minute.
    group_members: int = 100
    group_enters_per_min: int = 60
    group_proposals_per_min: int = 12
    group_vetoes_per_min: int = 3
    # Times.
    group_host_away_ms: int = 1_500
    handshake_timeout_ms: int = 10_000
    ping_interval_ms: int = 10_000
    page_return_ms: int = 5_000
    silence_timeout_ms: int = 25_000
    resume_window_ms: int = 30_000
    stalled_reader_ms: int = 30_000
    poll_hold_ms: int = 20_000
    body_timeout_ms: int = 10_000
    keepalive_ms: int = 75_000
    worker_lease_ms: int = 4_000
    drain_ms: int = 5_000
    expiry_warning_ms: int = 60_000

    def outbox(self) -> OutboxLimits:
        """The bounds of a session's outbox."""
        return OutboxLimits(
            live_kept_bytes=self.live_kept_bytes,
            live_kept_frames=self.live_kept_frames,
            live_kept_ms=self.live_kept_ms,
            durable_pending_bytes=self.durable_pending_bytes,
            durable_pending_frames=self.durable_pending_frames,
            lossy_pending_bytes=self.lossy_pending_bytes,
            lossy_pending_frames=self.lossy_pending_frames,
        )

    def mail(self) -> MailLimits:
        """The bounds of mailboxes."""
        return MailLimits(
            claims_per_channel=self.claims_per_channel,
            messages=self.mailbox_messages,
            bytes=self.mailbox_bytes,
            ttl_ms=self.mailbox_ttl_ms,
        )

    def of_worker(self) -> Limits:
        """These limits as they hold for the session of a media worker."""
        return msgspec.structs.replace(
            self,
            send_rate_per_s=self.worker_send_rate_per_s,
            channel_send_rate_per_s=UNLIMITED_PER_S,
            key_send_rate_per_s=UNLIMITED_PER_S,
            live_kept_bytes=self.worker_live_kept_bytes,
            live_kept_frames=self.worker_live_kept_frames,
        )

    @property
    def frames_per_s(self) -> int:
        """How fast the frames of one connection are read: twice what its rates allow, since some are refused."""
        return 2 * (self.send_rate_per_s + self.lossy_rate_per_s + self.request_rate_per_s)
