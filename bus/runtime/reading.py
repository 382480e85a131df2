"""What deciding reads inside one transaction: payloads that were stored, and those that it is about to write."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import orjson

from bus.errors import TransientError
from bus.message.reply import Data
from bus.ports import Payload, Transaction
from bus.runtime.case import Case

T = TypeVar("T")


class Reading:
    """Reads each payload once, and knows whether it was the store that failed."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._new: dict[int, Payload] = {}
        #: What was read and not looked into, and what was.
        self._raw: dict[int, bytes] = {}
        self._data: dict[int, Data] = {}
        self._fault: Exception | None = None

    def ask(self, read: Callable[[Transaction], T]) -> T:
        """Read from the transaction; what goes wrong is the store's fault."""
        try:
            return read(self._transaction)
        except Exception as error:
            self._fault = error
            raise

    def is_fault_of_store(self, error: Exception) -> bool:
        """Whether no event is to blame for this error."""
        return error is self._fault or isinstance(error, TransientError)

    @property
    def payloads(self) -> Sequence[Payload]:
        """What this transaction must write."""
        return list(self._new.values())

    def keep(self, payloads: Iterable[Payload]) -> None:
        """Have these written with the transaction."""
        for payload in payloads:
            self._new[payload.id] = payload

    def mark(self) -> int:
        """How much there is to write; for `forget`."""
        return len(self._new)

    def forget(self, mark: int) -> None:
        """What was kept since the mark is not written."""
        while len(self._new) > mark:
            self._new.popitem()

    def data(self, payload_id: int) -> Data:
        """The JSON object of a payload: data, or a whole message."""
        if payload_id not in self._data:
            self._data[payload_id] = orjson.loads(self.body(payload_id))
        return self._data[payload_id]

    def body(self, payload_id: int) -> bytes:
        """The exact bytes."""
        if payload_id in self._new:
            return self._new[payload_id].bytes
        if payload_id not in self._raw:
            self.prefetch([payload_id])
        return self._raw[payload_id]

    def prefetch(self, payload_ids: Iterable[int]) -> None:
        """Read these in one statement."""
        # Asked one by one: a difference of sets would walk through all that was read so far.
        known = (self._raw, self._data, self._new)
        missing = {one for one in payload_ids if not any(one in held for held in known)}
        if missing:
            self._raw |= self.ask(lambda transaction: transaction.payloads(missing))

    def needed(self, case: Case) -> list[int]:
        """What building the next task of a request reads."""
        rows = case.request.steps.values()
        answers = [step.output_id for step in rows if step.output_id is not None]
        return [case.request.data_id, *answers, *(step.input_id for step in rows if step.input_id is not None)]
