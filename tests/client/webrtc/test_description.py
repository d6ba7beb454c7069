"""Sections of descriptions."""

from __future__ import annotations

from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from peerbus.client.webrtc.description import Section, mend_rejections, sections_of


def test_sections_are_read() -> None:
    text = """v=0
m=video 9 UDP/TLS/RTP/SAVPF 97 98
a=mid:0
a=sendonly
a=rtpmap:98 rtx/90000
a=rtpmap:97 VP8/90000
a=ssrc:5 cname:x
a=ssrc:6 cname:x
a=ssrc:5 msid:y
m=audio 0 UDP/TLS/RTP/SAVPF 0
a=mid:1
a=inactive
m=application 9 UDP/DTLS/SCTP webrtc-datachannel
a=mid:2
"""
    assert sections_of(text) == [
        Section(mid="0", kind="video", direction="sendonly", is_rejected=False, ssrcs=(5, 6), codec="VP8"),
        Section(mid="1", kind="audio", direction="inactive", is_rejected=True, ssrcs=(), codec=""),
        Section(mid="2", kind="application", direction="sendrecv", is_rejected=False, ssrcs=(), codec=""),
    ]


async def test_an_answer_that_rejects_a_section_can_be_applied() -> None:
    configuration = RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)
    client, server = RTCPeerConnection(configuration), RTCPeerConnection(configuration)
    try:
        client.addTransceiver("video", direction="recvonly")
        client.addTransceiver("audio", direction="recvonly")
        await client.setLocalDescription(await client.createOffer())
        offer = client.localDescription.sdp
        await server.setRemoteDescription(RTCSessionDescription(sdp=offer, type="offer"))
        await server.setLocalDescription(await server.createAnswer())
        head, video, audio = server.localDescription.sdp.split("m=")
        refusal = "video 0 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=inactive\r\n"
        answer = "m=".join([head.replace("BUNDLE 0 1", "BUNDLE 1"), refusal, audio])
        assert video.startswith("video ")

        mended, rejected = mend_rejections(answer, offer)

        assert rejected == ["0"]
        assert [section.direction for section in sections_of(mended)] == ["inactive", "inactive"]
        await client.setRemoteDescription(RTCSessionDescription(sdp=mended, type="answer"))
        assert client.signalingState == "stable"
    finally:
        await client.close()
        await server.close()


def test_an_answer_that_rejects_nothing_stays_as_it_is() -> None:
    answer = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\na=setup:passive\r\n"
    assert mend_rejections(answer, answer) == (answer, [])
