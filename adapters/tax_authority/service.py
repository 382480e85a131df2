"""The authority's service as its WSDL describes it, read from this folder and from nowhere else."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from lxml import etree
from zeep import Client, Settings
from zeep.exceptions import DTDForbidden, EntitiesForbidden, XMLSyntaxError
from zeep.loader import parse_xml
from zeep.transports import Transport

from bus.record import Fault, InvalidMessageError

WSDL = Path(__file__).parent / "wsdl"
NAMESPACE = "http://tax.example.gov/clearance/1"
SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
#: What an answer may not have: a document type (whose entities could read files or fill the memory), or huge trees.
_SETTINGS = Settings(strict=True, forbid_dtd=True, forbid_entities=True, forbid_external=True, xml_huge_tree=False)
#: A reply is no place for a longer list.
_MOST_FAULTS = 9


class BundledOnly(Transport):
    """Loads what is bundled in ``wsdl/``; whatever else a document asks for is refused, and nothing is ever sent."""

    def load(self, url: str) -> bytes:
        """The bytes of a bundled file; a PermissionError for any other place."""
        path = Path(url).resolve()
        if not path.is_relative_to(WSDL.resolve()) or not path.is_file():
            raise PermissionError(f"{url} is not bundled in the adapter's folder; nothing else is ever loaded.")
        return path.read_bytes()

    def post(self, address: str, message: Any, headers: Any) -> NoReturn:
        """Messages leave through the adapter's call alone."""
        raise PermissionError(f"nothing is sent to {address} from here.")

    def get(self, address: str, params: Any, headers: Any) -> NoReturn:
        """Nothing is asked for either."""
        raise PermissionError(f"nothing is loaded from {address}.")


#: zeep is typed in parts only.
_zeep: Any = Client
_transport: Any = BundledOnly
_parse_xml: Any = parse_xml


def load() -> Any:
    """A client made of the bundled description; a PermissionError if that asks for anything which is not bundled."""
    return _zeep(str(WSDL / "clearance.wsdl"), transport=_transport(), settings=_SETTINGS)


@cache
def _client() -> Any:
    return load()


@cache
def _schema() -> Any:
    return etree.XMLSchema(etree.parse(str(WSDL / "clearance.xsd"), _parser()))


def _parser() -> etree.XMLParser:
    return etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)


def action(operation: str) -> str:
    """The SOAPAction of an operation of the WSDL."""
    return str(_client().service._binding.get(operation).soapaction)  # noqa: SLF001  # zeep has no public name for it


def request(operation: str, values: Mapping[str, str | None]) -> bytes:
    """The SOAP message that asks for it, exactly as it will be sent; what is None is left out.

    An InvalidMessageError with every fault where the authority's schema does not allow the values.
    """
    client = _client()
    given = {name: text for name, text in values.items() if text is not None}
    envelope = client.create_message(client.service, operation, **given)
    validate(payload(envelope))
    return etree.tostring(envelope, encoding="utf-8", xml_declaration=True)


def parse(text: str) -> Any:
    """The tree of an XML document without declaration; an InvalidMessageError if it is none, or has a document type."""
    try:
        return _parse_xml(text.encode(), _transport(), settings=_SETTINGS)
    except (DTDForbidden, EntitiesForbidden) as error:
        message = "the answer has a document type (DOCTYPE), which a SOAP message must not have."
        raise fault("document-type", message, "Ask the agency to send it without one.") from error
    except XMLSyntaxError as error:
        # What the parser says may quote the answer; where it stopped does not.
        cause = error.__cause__ or error.__context__
        line, column = getattr(cause, "position", (0, 0))
        raise fault("not-xml", f"line {line}, column {column}: here it is no well-formed XML any more.") from error


def payload(envelope: Any) -> Any:
    """The one element in the Body of a SOAP 1.1 envelope; an InvalidMessageError if it is no such envelope."""
    bodies = envelope.findall(f"{{{SOAP}}}Body") if envelope.tag == f"{{{SOAP}}}Envelope" else []
    elements = [child for body in bodies for child in body if isinstance(child.tag, str)]
    if len(bodies) != 1 or len(elements) != 1:
        raise fault("not-soap", "this is no SOAP 1.1 envelope with one element in its Body.")
    return elements[0]


def validate(element: Any) -> None:
    """An InvalidMessageError that names every place where the element breaks the bundled schema, and no value."""
    schema, element = _schema(), copy.deepcopy(element)  # by itself, so that paths begin here
    if schema.validate(etree.ElementTree(element)):
        return
    found = dict.fromkeys((_name_at(error.path, element), error.type_name) for error in schema.error_log)
    raise InvalidMessageError(
        tuple(
            Fault(
                code="against-schema",
                message=f"it breaks the rule {rule.removeprefix('SCHEMAV_')} of clearance.xsd.",
                pointer=f"/{name}",
            )
            for name, rule in list(found)[:_MOST_FAULTS]
        )
    )


def typed(operation: str, envelope: Any) -> Any:
    """The answer as zeep reads it: an object with a member for each element, days as dates."""
    return _client().service._binding.get(operation).process_reply(envelope)  # noqa: SLF001  # as above


def fault(code: str, message: str, mend: str = "") -> InvalidMessageError:
    """One thing that is wrong with an answer."""
    return InvalidMessageError((Fault(code=code, message=message, mend=mend),))


def _name_at(path: str | None, element: Any) -> str:
    """The name, without namespace, of what stands at a path of libxml2."""
    spaces = {prefix: uri for prefix, uri in element.nsmap.items() if prefix}
    found = element.getroottree().xpath(path, namespaces=spaces) if path else []
    return str(etree.QName(found[0] if found else element).localname)
