"""RTP and RTCP as values and bytes; everything in here is pure."""
