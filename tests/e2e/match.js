// A member of a group in mode `host`, made with the public SDK in this page, held by a test.
// Owns what the test can ask for. Needs /sdk/web-agent.js and /sdk/web-agent.webrtc.js. Its twin is `match.py`.

window.match = {
  /** Joins; who can't reach the host waits for it, since what the relay carries has no place in the order. As host it keeps the last number of each sender, and notes where one is missing or came twice. */
  async join(channelName, agentName) {
    const agent = new AgentConnection();
    const webrtc = new WebRTCHelper(agent, { mode: "host", carry: false });
    const now = () => performance.timeOrigin + performance.now();
    Object.assign(match, { agent, webrtc, log: [], hosts: [], broken: [], errors: [], state: {}, sent: 0, toHost: 0 });
    let lastMs = now();
    webrtc.onDataReceived = (data, name) => {
      if (data.forHost !== undefined) {
        match.takeIn(name, data.forHost);
        return;
      }
      lastMs = now();
      match.log.push(name, data.n);
      const host = match.hosts.at(-1);
      if (host) {
        host.afterMs ??= lastMs;
        host.heard += 1;
      }
    };
    webrtc.onHostChange = (host, term, state) => {
      match.hosts.push({ name: host.name, term, atMs: now(), beforeMs: lastMs, heard: 0 });
      if (host.name !== agentName) return;
      match.log.push("", 0);
      match.state = { ...state };
      webrtc.setHostState(match.state);
    };
    webrtc.onError = ({ code, message }) => match.errors.push([code, message]);
    await agent.connect({ channelName, agentName, resumeKey: false });
  },

  takeIn(name, number) {
    if (number !== (match.state[name] ?? 0) + 1) match.broken.push([name, match.state[name] ?? 0, number]);
    match.state[name] = number;
    match.webrtc.setHostState(match.state);
  },

  /** Sends numbers to everybody else, so many a second, and one a second to the host, until `stop`. */
  start(ratePerS) {
    const { webrtc } = match;
    let due = performance.now();
    const timer = setInterval(() => {
      // A loop that was late does what it can of what it owes, as a game does.
      due = Math.max(due, performance.now() - 100);
      for (; due <= performance.now(); due += 1000 / ratePerS) {
        match.sent += 1;
        webrtc.broadcast({ n: match.sent, where: "0123456789".repeat(5) });
        if (match.sent % ratePerS === 0) webrtc.sendData({ forHost: ++match.toHost }, "peerbus:host");
      }
    }, 1000 / ratePerS);
    match.stop = () => clearInterval(timer);
  },

  /** How it stands. */
  look() {
    const { webrtc, hosts, sent, toHost, broken, errors, state } = match;
    const reached = webrtc.peers.map(({ name }) => name).filter((name) => webrtc.isConnected(name)).sort();
    const host = hosts.at(-1)?.name ?? "";
    return { reached, host, isHost: webrtc.isHost, hosts, sent, toHost, broken, errors, state };
  },

  /** What came since it was asked before: names and numbers in turn. */
  drain: () => match.log.splice(0),

  /** Threads by which this page's process can be told from others. */
  makeWorkers(count) {
    const address = URL.createObjectURL(new Blob(["onmessage = () => 0"], { type: "text/javascript" }));
    match.workers = Array.from({ length: count }, () => new Worker(address));
  },

  endWorkers() {
    for (const worker of match.workers) worker.terminate();
  },
};
