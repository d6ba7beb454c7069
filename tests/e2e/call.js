// A call made with the public SDK in this page, held by a test.
// Owns what the test can ask for. Needs /sdk/web-agent.js and /sdk/web-agent.webrtc.js.

window.calls = {
  /**
   * Joins, publishes a made-up camera and microphone, and notes what comes. `mediaKey`: bytes that take the place of those
   * derived from the password, as in a client that has the right to join, but not the key.
   */
  async join(channelName, agentName, { media = true, channelPassword, e2ee, mediaKey } = {}) {
    const agent = new AgentConnection();
    const call = { agent, data: [], ended: [], errors: [], offers: 0, states: [], encryption: [] };
    if (mediaKey) Object.defineProperty(agent, "mediaKey", { value: Uint8Array.from(mediaKey) });
    // Every offer counts: members who come and go must cost nobody one.
    const send = agent.sendMessage.bind(agent);
    agent.sendMessage = (message) => {
      if (message.content?.kind === "offer") call.offers += 1;
      return send(message);
    };
    const webrtc = new WebRTCHelper(agent, { mode: "sfu", e2ee });
    call.webrtc = webrtc;
    webrtc.onDataReceived = (data, name) =>
      call.data.push([name, data instanceof Uint8Array ? [...data] : data]);
    webrtc.onTrackEnded = (_, { peer }) => call.ended.push(peer.name);
    webrtc.onEncryptionState = (state, { name, media }) => call.encryption.push([name, media, state]);
    webrtc.onState = ({ name, code, why }) => call.states.push([name, code, why]);
    webrtc.onError = ({ code }) => call.errors.push(code);
    webrtc.onTrack = (track, { stream }) => {
      if (track.kind !== "video") return;
      const video = document.createElement("video");
      Object.assign(video, { srcObject: stream, autoplay: true, playsInline: true });
      document.body.append(video);
    };
    const connecting = agent.connect({ channelName, agentName, channelPassword, resumeKey: false });
    window.call = call;
    if (media) {
      const stream = await navigator.mediaDevices.getUserMedia({
        audio: true,
        video: { width: 320, height: 240 },
      });
      call.published = await webrtc.publish(stream).catch(async (error) => {
        // What the agent says tells more than that the call is over.
        await connecting;
        throw new Error(`${error.code}: ${JSON.stringify(webrtc.state)}`);
      });
    }
    await connecting;
  },

  /** The names of everybody else, and of whom something is received, by media. */
  look() {
    const { webrtc } = window.call;
    return {
      isConnected: webrtc.isConnected(),
      peers: webrtc.peers.map(({ name }) => name).sort(),
      tracks: webrtc.tracks.map(({ info }) => `${info.peer.name} ${info.publication.media}`).sort(),
    };
  },

  /** How what is received from each stands: "bob video sealed". */
  encryption() {
    const { webrtc } = window.call;
    const all = webrtc.peers.flatMap(({ publications }) => publications);
    return all.map((one) => `${one.name} ${one.media} ${webrtc.encryptionOf(one)}`).sort();
  },

  /** What came of sending: true, false or the code of the error. */
  async send(payload, options) {
    try {
      return await window.call.webrtc.sendData(payload, options);
    } catch (error) {
      if (!(error instanceof peerbus.PeerbusError)) throw error;
      return error.code;
    }
  },
};
