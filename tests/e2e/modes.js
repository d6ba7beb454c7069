// A member of a group made with the public SDK in this page, held by a test.
// Owns what the test can ask for. A page may hold several, one for each channel: `members`; `member` is the one that is
// asked now. Needs /sdk/web-agent.js and /sdk/web-agent.webrtc.js.

window.modes = {
  /** Joins with a mode; notes who comes and goes, what comes and how the mode changes. */
  async join(channelName, agentName, mode, options = {}) {
    const agent = new AgentConnection();
    const { channelPassword, ...rest } = options;
    const webrtc = new WebRTCHelper(agent, { mode, ...rest });
    const member = { agent, webrtc, data: [], numbers: {}, changes: [], peers: [], errors: [] };
    window.member = member;
    window.members ??= {};
    window.members[channelName] = member;
    webrtc.onDataReceived = (data, name) => {
      if (data?.n === undefined) member.data.push([name, modes.gist(data)]);
      else {
        member.numbers[name] ??= [];
        member.numbers[name].push(data.n);
      }
    };
    webrtc.onModeChange = (mode, reason) => member.changes.push([mode, reason]);
    webrtc.onPeerState = ({ name }, state) => member.peers.push([name, state]);
    webrtc.onError = ({ code, message }) => member.errors.push([code, message]);
    await agent.connect({ channelName, agentName, channelPassword, resumeKey: false });
  },

  /** What a payload is, and enough of it to compare. */
  gist(data) {
    if (!(data instanceof Uint8Array)) return data;
    return ["bytes", data.length, data.reduce((sum, byte, at) => (sum + byte * ((at % 251) + 1)) % 1_000_003, 0)];
  },

  /** So many bytes that are not all the same. */
  bytes(count) {
    return Uint8Array.from({ length: count }, (_, at) => (at * 7 + (at >> 8)) % 256);
  },

  /** The names of everybody who can be reached. */
  reached() {
    const { webrtc } = window.member;
    return webrtc.peers
      .map(({ name }) => name)
      .filter((name) => webrtc.isConnected(name))
      .sort();
  },

  /** How each of the others is reached. */
  async figures() {
    const { webrtc, peers, errors } = window.member;
    return JSON.stringify([peers, errors, (await webrtc.stats()).peers]);
  },

  /** Sends numbers, so many a second, until `stop`. */
  start(ratePerS) {
    const { webrtc } = window.member;
    let sent = 0;
    const began = performance.now();
    const timer = setInterval(() => {
      // A timer that comes late sends what it owes.
      while (sent < ((performance.now() - began) * ratePerS) / 1000) {
        sent += 1;
        webrtc.broadcast({ n: sent });
      }
    }, 1000 / ratePerS);
    window.member.stop = () => {
      clearInterval(timer);
      return sent;
    };
  },

  /** What came of asking for another mode: "" or the code of the error. */
  async switch(mode) {
    try {
      await window.member.webrtc.switchMode(mode);
      return "";
    } catch (error) {
      if (!(error instanceof peerbus.PeerbusError)) throw error;
      return `${error.code}: ${error.message}`;
    }
  },

  /** Refuses the next proposal, as a member does that can't follow. */
  refuseNext() {
    const { agent } = window.member;
    const stop = agent.on("signal", ({ content: { kind, proposal } }) => {
      if (kind !== "group" || !proposal) return;
      stop();
      const veto = { kind: "veto", term: proposal.term, reason: "not today" };
      agent.sendMessage({ type: "signal", to: "peerbus:group", delivery: "live", content: veto });
    });
  },

  /** Publishes a made-up camera and microphone, and shows all pictures that come. */
  async film() {
    const { webrtc } = window.member;
    window.shown = {};
    const show = ({ track, info }) => {
      if (track.kind !== "video") return;
      const video = document.createElement("video");
      Object.assign(video, { srcObject: new MediaStream([track]), autoplay: true, muted: true });
      document.body.append(video);
      const times = (shown[info.peer.name] ??= []);
      const note = (now) => {
        times.push(now);
        video.requestVideoFrameCallback(note);
      };
      video.requestVideoFrameCallback(note);
    };
    webrtc.on("track", show);
    webrtc.tracks.forEach(show);
    const media = { audio: true, video: { width: 320, height: 240 } };
    await webrtc.publish(await navigator.mediaDevices.getUserMedia(media));
  },

  /** How many pictures of somebody were shown since a time, and the longest time without one. */
  watched(name, since) {
    const times = [since, ...(shown[name] ?? []).filter((time) => time > since), performance.now()].sort((a, b) => a - b);
    return { frames: times.length - 2, gap: Math.max(...times.slice(1).map((time, at) => time - times[at])) };
  },
};
