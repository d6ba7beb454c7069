"""
Transcripts of mode `host`, which both SDKs run: all that came to one member in a simulated group, and what followed.

`python -m tests.support.host_transcripts` writes `tests/vectors/peers/host.json` anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from msgspec import structs

from peerbus.client.webrtc import host_record as records
from peerbus.client.webrtc.host_mode import HostMode
from peerbus.client.webrtc.host_record import HostView, Output
from tests.support.host_world import World

FILE: Final = Path(__file__).parents[1] / "vectors" / "peers" / "host.json"
_STEPS_MAX: Final = 420


class RecordedMode(HostMode):
    """A machine that notes what comes in and what follows."""

    def __init__(self, identity: str) -> None:
        super().__init__(identity)
        self.steps: list[dict[str, Any]] = []

    def follow(self, view: HostView, now_ms: int) -> None:
        super().follow(view, now_ms)
        self._note(now_ms, "follow", view={**structs.asdict(view), "members": dict(view.members)})

    def link_up(self, peer: str) -> None:
        super().link_up(peer)
        self._note(0, "link_up", peer=peer)

    def link_down(self, peer: str) -> None:
        super().link_down(peer)
        self._note(0, "link_down", peer=peer)

    def receive(self, peer: str, data: bytes, now_ms: int) -> None:
        super().receive(peer, data, now_ms)
        self._note(now_ms, "receive", peer=peer, data=data.hex())

    def submit(self, to: tuple[str, ...], frame: bytes, now_ms: int) -> bool:
        is_taken = super().submit(to, frame, now_ms)
        self._note(now_ms, "submit", to=list(to), frame=frame.hex(), is_taken=is_taken)
        return is_taken

    def set_state(self, state: object, now_ms: int) -> None:
        super().set_state(state, now_ms)
        self._note(now_ms, "set_state", state=json.loads(json.dumps(state)))

    def tick(self, now_ms: int) -> None:
        super().tick(now_ms)
        self._note(now_ms, "tick")

    def take(self, now_ms: int) -> list[Output]:
        outputs = super().take(now_ms)
        self._note(now_ms, "take", out=[written(output) for output in outputs])
        return outputs

    def _note(self, now_ms: int, do: str, **more: Any) -> None:
        after = {"path": self.path, "deadline": self.deadline_ms}
        told = {name: value for name, value in after.items() if value is not None}
        self.steps.append({"at": now_ms, "do": do, **more, **told})


def written(output: Output) -> list[Any]:
    """An output as the transcripts have it."""
    if isinstance(output, records.Transmit):
        return ["transmit", output.peer, output.data.hex(), output.is_lossy]
    if isinstance(output, records.FrameCame):
        return ["frame", output.sender, output.frame.hex(), output.is_for_host, output.is_in_state]
    if isinstance(output, records.HostMessage):
        return ["message", output.sender, output.payload, output.n, output.is_replayed]
    if isinstance(output, records.HostChanged):
        return ["host", output.host, output.term, None if output.state is None else output.state.value()]
    if isinstance(output, records.Gone):
        return ["gone", output.identity]
    if isinstance(output, records.Renew):
        return ["renew", output.term]
    if isinstance(output, records.Unheard):
        return ["unheard", output.term]
    if isinstance(output, records.Reachable):
        return ["reachable", output.peer, output.is_reachable]
    if isinstance(output, records.Bad):
        return ["bad", output.peer, output.error.code.value]
    return ["path"]


def play(steps: list[Mapping[str, Any]], identity: str) -> list[dict[str, Any]]:
    """The same inputs to a machine of today; gives the steps as they are now."""
    mode = RecordedMode(identity)
    for step in steps:
        at, do = step["at"], step["do"]
        if do == "follow":
            mode.follow(HostView(**step["view"]), at)
        elif do in ("link_up", "link_down"):
            (mode.link_up if do == "link_up" else mode.link_down)(step["peer"])
            del mode.steps[len(mode.steps) - (2 if do == "link_up" else 1) : -1]
        elif do == "receive":
            mode.receive(step["peer"], bytes.fromhex(step["data"]), at)
        elif do == "submit":
            mode.submit(tuple(step["to"]), bytes.fromhex(step["frame"]), at)
        elif do == "set_state":
            mode.set_state(step["state"], at)
        elif do == "tick":
            mode.tick(at)
        else:
            mode.take(at)
    return mode.steps


def _world(seed: int, fault: Callable[[World], None]) -> World:
    world = World(seed)
    world.has_large = False
    world.new_mode = RecordedMode
    for number in range(1, 4):
        world.at(number * 50, lambda number=number: world.add(f"m{number}").enter())  # type: ignore[misc]  # mypy can't infer defaults

    def chatter() -> None:
        world.at(world.rng.randint(40, 120), chatter)
        nodes = [node for node in world.nodes.values() if node.is_running and len(node.members) > 1]
        if nodes and world.now < 4_000:
            world.rng.choice(nodes).send(to_role=world.rng.random() < 0.4, is_lossy=world.rng.random() < 0.1)

    world.at(700, chatter)
    world.at(1_500, lambda: fault(world))
    world.run(5_000)
    return world


def generate() -> list[dict[str, Any]]:
    """All transcripts."""

    def killed(world: World) -> None:
        world.nodes["m1"].die()
        world.at(5, lambda: world.server.leave("m1"))

    def frozen(world: World) -> None:
        world.nodes["m1"].freeze(1_900)

    def handed_over(world: World) -> None:
        world.server.offline(world.nodes["m2"], 900, notice_ms=0)
        world.at(45, lambda: killed(world))

    def cut(world: World) -> None:
        world.cut("m1", "m2", 1_600)

    wanted = [
        ("a successor becomes host", 3, killed, "m2"),
        ("a guest goes from one host to the next", 3, killed, "m3"),
        ("a host freezes and wakes as a guest", 4, frozen, "m1"),
        ("a host freezes and is heard no more", 4, frozen, "m2"),
        ("a new host that has not everything asks the others", 5, handed_over, "m3"),
        ("a former successor is asked", 5, handed_over, "m2"),
        ("the link to the successor is lost for a while", 6, cut, "m1"),
    ]
    transcripts = []
    for name, seed, fault, who in wanted:
        node = next(one for one in _world(seed, fault).all_nodes if one.identity == who)
        assert isinstance(node.mode, RecordedMode)
        # Without the call of `link_down` that `link_up` makes.
        steps = [
            step
            for step, after in zip(node.mode.steps, [*node.mode.steps[1:], {}], strict=True)
            if not (
                step["do"] == "link_down" and after.get("do") == "link_up" and after["peer"] == step["peer"]
            )
        ]
        transcripts.append({"name": name, "identity": who, "steps": steps[:_STEPS_MAX]})
    return transcripts


def main() -> None:
    """Writes the file."""
    lines = ["["]
    transcripts = generate()
    for index, transcript in enumerate(transcripts):
        head = json.dumps({"name": transcript["name"], "identity": transcript["identity"]})[:-1]
        lines.append(f'{head}, "steps": [')
        lines += [json.dumps(step) + "," for step in transcript["steps"][:-1]]
        lines.append(json.dumps(transcript["steps"][-1]))
        lines.append("]}" + ("," if index < len(transcripts) - 1 else ""))
    FILE.write_text("\n".join([*lines, "]"]) + "\n", "utf-8")


if __name__ == "__main__":
    main()
