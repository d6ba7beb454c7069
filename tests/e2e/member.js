// An AgentConnection of the public SDK in this page, held by a test: it is told every event, and calls every method.
// Owns the form in which values pass between the page and the test: JSON, with bytes as {"$bytes": base64}.
// Needs the functions tellTest(event, json) and keyFromTest(), which the test exposes.

(() => {
  const EVENTS = [
    "message",
    "connect",
    "disconnect",
    "error",
    "state",
    "presence",
    "channel",
    "gap",
    "expiring",
  ];
  const RECORD_OF_ERROR = ["code", "message", "details", "isRetryable", "retryAfterMs", "correlationId"];

  const toBase64 = (bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  const fromBase64 = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

  const toJson = (value) =>
    JSON.stringify(value === undefined ? null : value, (_, item) => {
      if (item instanceof Uint8Array) return { $bytes: toBase64(item) };
      if (item instanceof Error) {
        return { name: item.name, ...Object.fromEntries(RECORD_OF_ERROR.map((key) => [key, item[key]])) };
      }
      return item;
    });
  const fromJson = (text) =>
    JSON.parse(text, (_, item) =>
      typeof item?.$bytes === "string" ? fromBase64(item.$bytes) : item,
    );

  const agent = new AgentConnection();
  for (const event of EVENTS) agent.on(event, (value) => void window.tellTest(event, toJson(value)));

  /** What came of a call: {"ok": value} or {"refused": error}, as JSON. */
  const outcome = async (call) => {
    try {
      return toJson({ ok: await call() });
    } catch (error) {
      if (!(error instanceof peerbus.PeerbusError)) throw error;
      return toJson({ refused: error });
    }
  };

  window.member = {
    call: (method, argumentsJson) => outcome(() => agent[method](...fromJson(argumentsJson))),
    /** As `call("connect", …)`, with keys that the test makes if it wants to. */
    connect(optionsJson, asksForKey) {
      const options = fromJson(optionsJson);
      if (asksForKey) options.getApiKey = () => window.keyFromTest();
      return outcome(() => agent.connect(options));
    },
    /** What the agent's properties say. */
    look: () =>
      toJson({
        state: agent.state,
        agentName: agent.agentName,
        sessionId: agent.sessionId,
        identity: agent.identity,
        members: agent.members,
        channel: agent.channel,
        queued: agent.queuedRequests,
        isSealed: agent.isSealed,
        safetyNumber: agent.safetyNumber,
        sealingCounters: agent.sealingCounters,
      }),
  };
})();
