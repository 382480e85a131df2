"""The only door to the authority's service: SOAP 1.1 over HTTP, one envelope for each task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bus.adapter import Adapter, LookUp, Reply, Task, Unsure

from . import service, translate
from .exchange import Door


class TaxAuthority(Adapter):
    """Has clearance certificates issued and cancelled by the tax authority's web service."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(settings)
        self._door = Door.of(settings)
        self._read_as: str | None = settings.get("read_as")

    def prepare(self, operation: str, tasks: Sequence[Task]) -> tuple[bytes, ...]:
        """Each task as the SOAP message that will be sent, byte for byte."""
        return translate.requests(operation, tasks)

    def call(self, operation: str, native: Sequence[bytes]) -> tuple[bytes, ...]:
        """Post one message after the other; each answer with status and headers, as it came.

        After the first that gets no answer none is sent any more: those without an answer get ``b""``, which reads as
        unknown. If no message was answered at all, the reason is raised.
        """
        action = service.action(translate.OPERATIONS[operation])
        answers: list[bytes] = []
        for message in native:
            try:
                answers.append(self._post(message, action))
            except Exception:
                if not answers:
                    raise
                break
        return (*answers, *[b""] * (len(native) - len(answers)))

    def read(self, operation: str, raw: Sequence[bytes]) -> tuple[Reply, ...]:
        """What each answer means; one that cannot be read is a `Failed` of its own."""
        return translate.replies(operation, raw, self._read_as)

    def look_up(self, operation: str, references: Sequence[str]) -> tuple[LookUp, ...]:
        """Absent only if the authority's request book has no such request under way or done."""
        return tuple(self._look_up(operation, reference) for reference in references)

    def _look_up(self, operation: str, reference: str) -> LookUp:
        message = translate.question(reference)
        try:
            raw = self._post(message, service.action(translate.LOOK_UP))
        except Exception:  # noqa: BLE001  # a question has no effect: whatever happened, the answer is not known
            return Unsure()
        return translate.found(operation, raw, self._read_as)

    def _post(self, message: bytes, action: str) -> bytes:
        return self._door.post(message, action=action, reference=translate.reference_in(message))
