"""
Calls in a channel: audio, video and data, by WebRTC.

    from peerbus.client.webrtc import WebRTCHelper
"""

from peerbus.client.webrtc.frame_sealing import EncryptionState
from peerbus.client.webrtc.helper import WebRTCHelper
from peerbus.client.webrtc.host_frames import HOST_ROLE as HOST
from peerbus.client.webrtc.network_simulator import Simulation
from peerbus.client.webrtc.publication import Publication
from peerbus.client.webrtc.records import ActiveSpeaker, CallState, Peer, RemotePublication
from peerbus.client.webrtc.remote_track import RemoteTrack
from peerbus.client.webrtc.stats import CallStats

__all__ = [
    "HOST",
    "ActiveSpeaker",
    "CallState",
    "CallStats",
    "EncryptionState",
    "Peer",
    "Publication",
    "RemotePublication",
    "RemoteTrack",
    "Simulation",
    "WebRTCHelper",
]
