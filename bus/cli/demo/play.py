"""Plays one scene: submits its request and lets everybody act as the scene has it, until the request has ended."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from bus.cli.demo import layout, words
from bus.cli.demo.scenes import FILE, Answer, Mend, Refuse, Return, Scene
from bus.cli.demo.stage import OUTAGES, Stage, StuckError
from bus.cli.demo.transcript import Transcript
from bus.message.text import Text
from bus.process.state import ALIVE, FINAL, Kind, Request, Step, StepState

#: Seconds that one scene may take; longer means that somebody does not answer.
PATIENCE = 30.0
#: Seconds until a legacy system that was told to go down is surely down.
_GOING_DOWN = 0.6
_LOOK = 0.03
#: Where the words of a failure begin.
_QUOTED = 7
#: A code for programs within a sentence.
_CODE = re.compile(r" \[[a-z][a-z-]*\]", re.ASCII)
#: A step in one of these moves no further before somebody acts.
_AT_REST = FINAL | {StepState.WAITING, StepState.RETURNED}


class Player:
    """One scene; its clerk takes up his task only when everything else is at rest, so that each run reads the same."""

    def __init__(self, stage: Stage, transcript: Transcript, scene: Scene) -> None:
        self._stage = stage
        self._transcript = transcript
        self._scene = scene
        self._acts = deque(scene.clerk)
        self._mends: dict[str, Mend] = {mend.operation: mend for mend in scene.mends}
        self._bring: dict[str, str] = {}
        self._request_id = ""

    def play(self) -> None:
        """From the troubles to the result; a StuckError names the agency and the step that nothing comes from."""
        for trouble in self._scene.troubles:
            self._stage.arm(trouble)
        if any(trouble.misbehaviour in OUTAGES for trouble in self._scene.troubles):
            time.sleep(_GOING_DOWN)
        self._submit()
        end = time.monotonic() + PATIENCE
        try:
            while not self._is_over():
                if time.monotonic() > end:
                    raise StuckError(self._why_stuck())
                time.sleep(_LOOK)
        finally:
            self._stage.disarm()
        self._tell_result()

    def _submit(self) -> None:
        stage = self._stage
        number = len(stage.requests) + 1
        title = self._scene.title
        self._transcript.show([layout.Row()])
        self._transcript.show(layout.heading(Text(en=f"{number}. {title.en}", ar=title.ar)))
        receipt = stage.portal.submit(stage.script.definition.service, dict(self._scene.data), key=f"demo-{number}")
        self._request_id = receipt["request_id"]
        stage.requests.append(self._request_id)
        accepted = words.ACCEPTED.en.format(tracking=receipt["tracking"])
        self._transcript.say(stage.now, words.REQUEST, Text(en=accepted, ar=words.ACCEPTED.ar))

    def _is_over(self) -> bool:
        """Look once, and let whoever has something to do do it."""
        stage = self._stage
        for fact in self._transcript.tell(stage.parts.store.facts(self._request_id)):
            if fact.kind == "step_retrying":
                stage.noticed(fact.provider, fact.step)
        request = stage.request(self._request_id)
        if request.state not in ALIVE:
            self._transcript.tell(stage.parts.store.facts(self._request_id))
            return True
        for step in request.steps.values():
            self._look_at(request, step)
        return False

    def _look_at(self, request: Request, step: Step) -> None:
        if step.state in FINAL | {StepState.WAITING}:
            return
        if self._stage.dead_system(step.agency):
            raise StuckError(self._why_stuck())
        others = [one for one in request.steps.values() if one.key != step.key]
        if step.state is StepState.PARKED:
            self._operate(step)
        elif step.state is StepState.RETURNED and self._bring:
            self._supplement()
        elif _at_clerk(step) and all(_at_clerk(one) or one.state in _AT_REST for one in others):
            self._act(step)

    # --- people -----------------------------------------------------------------------------------------------------

    def _act(self, step: Step) -> None:
        clerk = self._stage.clerks[step.agency]
        rows = [row for row in clerk.desk_list()["items"] if row["request_id"] == self._request_id]
        operation = self._stage.script.definition.steps[step.key.step].operation
        if not rows or not self._acts or self._acts[0].operation != operation:
            return
        row, act = int(rows[0]["row"]), self._acts.popleft()
        clerk.desk_claim(row)
        match act:
            case Answer():
                clerk.desk_answer(row, dict(act.data))
            case Return():
                need = {"pointer": act.pointer, "reason_code": act.reason_code, "text": act.says.to_json()}
                clerk.desk_return(row, needs=[need])
                self._bring = {act.pointer: act.bring}
            case Refuse():
                clerk.desk_refuse(row, reason_code=act.reason_code, text=act.says.to_json())
        self._transcript.say(self._stage.now, words.CLERK, act.says, "person")

    def _supplement(self) -> None:
        self._stage.portal.request_supplement(self._request_id, dict(self._bring))
        self._bring.clear()
        self._transcript.say(self._stage.now, words.APPLICANT, words.BRINGS, "person")

    def _operate(self, step: Step) -> None:
        stage, operator = self._stage, self._stage.operator
        failures = [one for one in operator.failure_list()["items"] if one["request_id"] == self._request_id]
        mine = [one for one in failures if (one["step"], one["item"]) == (step.key.step, step.key.item)]
        defined = stage.script.definition.steps[step.key.step]
        undoing = defined.compensate if step.key.kind is Kind.COMPENSATION else None
        mend = self._mends.pop(undoing.operation if undoing else defined.operation, None)
        if not mine or mend is None:
            raise StuckError(self._why_stuck())
        view = operator.failure_show(int(mine[0]["failure"]))
        self._transcript.say(stage.now, words.OPERATOR, words.READS, "person")
        self._transcript.show(layout.heading(_advice(view), column=_QUOTED, tone="quiet"))
        stage.mend(defined, mend)
        self._transcript.say(stage.now, words.OPERATOR, mend.says, "person")
        self._transcript.say(stage.now, words.OPERATOR, words.RESTARTED, "person")
        operator.failure_replay(int(mine[0]["failure"]), reason=mend.says.en)
        self._transcript.say(stage.now, words.OPERATOR, words.REPLAYS, "person")

    # --- the end ----------------------------------------------------------------------------------------------------

    def _tell_result(self) -> None:
        results = self._stage.portal.result_list(most=100)["items"]
        mine = [one for one in results if one["request_id"] == self._request_id]
        data: Mapping[str, Any] = next(
            (one["message"]["data"] for one in reversed(mine) if "outcome" in one["message"]["data"]), {}
        )
        said = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in data.get("result", {}).items())
        if said:
            self._transcript.say(None, words.RESULT, Text(en=said, ar=""))
        self._stage.portal.result_ack([int(one["cursor"]) for one in mine])

    def _why_stuck(self) -> str:
        """Which agency and which step the request waits for."""
        request = self._stage.request(self._request_id)
        for step in request.steps.values():
            if step.state in FINAL | {StepState.WAITING}:
                continue
            title = self._stage.script.definition.steps[step.key.step].title.en
            what = f"step {step.key.step} ({title}) is {step.state.value}"
            if step.state is StepState.PARKED:
                return f"{what} at {step.agency} because of {step.reason}, and {FILE} has no mend for that."
            gone = " (its legacy system is not running)" if self._stage.dead_system(step.agency) else ""
            return f"{step.agency} does not answer{gone}; {what}."
        return f"nothing happens; the request is {request.state.value}."


def _at_clerk(step: Step) -> bool:
    return step.desk and step.state is StepState.DISPATCHED


def _advice(view: Mapping[str, Any]) -> Text:
    """What an operator reads of a failure: in Arabic what it means and the mend, in English how the adapter tells it.

    The adapter's Arabic may name settings in Latin letters, which would part its run in the middle.
    """
    known = [view["failure"]["what"], view["mend"]]
    said = [view["agency_says"]] if view["agency_says"] else known
    return Text(en=_CODE.sub("", " ".join(text["en"] for text in said)), ar=" ".join(text["ar"] for text in known))
