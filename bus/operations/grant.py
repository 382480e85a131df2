"""May this consumer ask for this service, and for this purpose? If not: who could allow it."""

from __future__ import annotations

from bus.catalog import Service
from bus.errors import Fault, ForbiddenError, InvalidMessageError
from bus.operations.caller import Caller, Role


class NotGrantedError(ForbiddenError):
    """The routes do not grant it; ``granted_by`` says who could, in words that need no language."""

    code = "service-not-granted"

    def __init__(self, message: str, *, code: str, service: Service) -> None:
        self.granted_by = owners_of(service)
        super().__init__(
            message, code=code, mend=f"Ask for a grant: {self.granted_by}. It stands under `consumers` of the service."
        )


def granted_purpose(service: Service, consumer: str, named: str | None) -> str:
    """The purpose of a submission: the named one, or the only one. NotGrantedError; InvalidMessageError if unclear."""
    grant = service.definition.consumers.get(consumer)
    if grant is None:
        raise not_granted(service, consumer)
    if named is None and len(grant.purposes) == 1:
        return grant.purposes[0]
    if named is None:
        fault = Fault(
            code="purpose-needed",
            message="The header Bus-Purpose is missing.",
            mend=f"Name one of: {', '.join(grant.purposes)}.",
        )
        raise InvalidMessageError((fault,))
    if named not in grant.purposes:
        granted = ", ".join(grant.purposes) or "none"
        raise NotGrantedError(
            f"{consumer} may not ask for this service for that purpose. Granted: {granted}.",
            code="purpose-not-granted",
            service=service,
        )
    return named


def not_granted(service: Service, consumer: str | None) -> NotGrantedError:
    """This consumer may not ask for the service at all."""
    return NotGrantedError(f"{consumer} may not ask for this service.", code="service-not-granted", service=service)


def may_see(service: Service, caller: Caller) -> bool:
    """Whether a service is shown: a consumer sees those that are granted to it, everybody else all."""
    return caller.role is not Role.CONSUMER or caller.agency in service.definition.consumers


def purposes_of(service: Service, caller: Caller) -> tuple[str, ...]:
    """For which purposes the caller may ask; all that exist for those who ask for nobody."""
    grant = service.definition.consumers.get(caller.agency or "")
    if grant is not None:
        return grant.purposes
    return () if caller.role is Role.CONSUMER else tuple(service.definition.purposes)


def owners_of(service: Service) -> str:
    """Who answers for the file that grants the service."""
    owner, file = service.origin.owner, service.origin.file or "routes.yaml"
    return f"{owner.team}, {owner.contact} ({file})" if owner is not None else f"the owners of {file}"
