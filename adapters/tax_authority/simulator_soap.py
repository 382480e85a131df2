"""SOAP as the simulated service writes and reads it: by hand, as an old vendor does."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from lxml import etree

NAMESPACE = "http://tax.example.gov/clearance/1"
SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
#: What each element of a request must look like; ``?`` behind a name: it may be missing.
FORMS: Mapping[str, Mapping[str, str]] = {
    "IssueClearance": {
        "ExternalReference": "[0-9A-Za-z-]{1,20}",
        "NationalNumber": "[0-9]{14}",
        "TaxpayerNumber?": "[0-9]{9}",
    },
    "CancelClearance": {"ExternalReference": "[0-9A-Za-z-]{1,20}", "CertificateNumber": "[0-9]{4}-[0-9]{6}"},
    "FindClearance": {"ExternalReference": "[0-9A-Za-z-]{1,20}"},
}
MESSAGES = {
    "TAX-0400": "صيغة الطلب غير سليمة",
    "TAX-0404": "الممول غير مسجل",
    "TAX-0405": "لا توجد شهادة بهذا الرقم",
    "TAX-0406": "الشهادة ملغاة من قبل",
    "TAX-0413": "توجد مستحقات ضريبية على الممول",
    "TAX-0414": "الملف الضريبي موقوف",
    "TAX-0422": "رقم التسجيل الضريبي مطلوب",
    "TAX-0423": "رقم التسجيل الضريبي لا يخص هذا الممول",
    "TAX-0500": "خطأ داخلي في النظام",
    "TAX-0503": "النظام مشغول، يرجى إعادة المحاولة لاحقًا",
    "TAX-0504": "النظام خارج أوقات الدوام",
}
#: Half an answer ends behind the first of these: what was made stands in it whole, and what comes behind does not.
_HALF = ("</t:CertificateNumber>", "</t:CancelledOn>")
#: A document type that a careless reader would follow.
_HOSTILE = '<!DOCTYPE a [<!ENTITY b "b"><!ENTITY c SYSTEM "file:///etc/hostname">]>\n'


class MalformedError(Exception):
    """The request is no such request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A request as the service understands it."""

    operation: str
    reference: str
    #: The other elements by name; "" for those that are missing.
    values: Mapping[str, str]


def read(body: bytes) -> Order:
    """The request in the body; MalformedError if there is none."""
    try:
        parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
        envelope = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise MalformedError from error
    found = envelope.find(f"{{{SOAP}}}Body/*")
    name = etree.QName(found).localname if found is not None else ""
    if found is None or found.tag != f"{{{NAMESPACE}}}{name}" or name not in FORMS:
        raise MalformedError
    values: dict[str, str] = {}
    for written, form in FORMS[name].items():
        text = found.findtext(f"{{{NAMESPACE}}}{written.removesuffix('?')}")
        if not (written.endswith("?") and text is None) and not re.fullmatch(form, text or "", re.ASCII):
            raise MalformedError
        values[written.removesuffix("?")] = text or ""
    return Order(operation=name, reference=values.pop("ExternalReference"), values=values)


def response(operation: str, reference: str, *elements: tuple[str, str | None]) -> str:
    """An answer of success; an element without text is left out."""
    inner = element("ExternalReference", reference) + "".join(element(name, text) for name, text in elements if text)
    return _envelope(f'<t:{operation}Response xmlns:t="{NAMESPACE}">{inner}</t:{operation}Response>')


def element(name: str, text: str) -> str:
    """One element with this text."""
    return f"<t:{name}>{escape(text)}</t:{name}>"


def fault(code: str, seconds: int | None = None) -> str:
    """A fault; its code stands in the faultstring and nowhere else."""
    side = "Client" if code < "TAX-0500" else "Server"
    wait = f"<t:RetryAfterSeconds>{seconds}</t:RetryAfterSeconds>" if seconds is not None else ""
    detail = f'<detail><t:ClearanceFault xmlns:t="{NAMESPACE}">{wait}</t:ClearanceFault></detail>'
    words = f"<faultcode>soapenv:{side}</faultcode><faultstring>{code}: {MESSAGES[code]}</faultstring>"
    return _envelope(f"<soapenv:Fault>{words}{detail}</soapenv:Fault>")


def hostile(text: str) -> str:
    """The same answer with a document type."""
    declaration, envelope = text.split("\n", 1)
    return f"{declaration}\n{_HOSTILE}{envelope}"


def half(text: str) -> str:
    """The answer as far as it got."""
    ends = [text.find(end) + len(end) for end in _HALF if end in text]
    return text[: ends[0] if ends else len(text) // 2]


def _envelope(inner: str) -> str:
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<soapenv:Envelope xmlns:soapenv="{SOAP}"><soapenv:Body>{inner}</soapenv:Body></soapenv:Envelope>'
    )


def found(reference: str, entries: Sequence[Sequence[tuple[str, str | None]]]) -> str:
    """What the request book has of a reference."""
    inner = "".join(
        "<t:Entry>" + "".join(element(name, text) for name, text in entry if text) + "</t:Entry>" for entry in entries
    )
    head = f'<t:FindClearanceResponse xmlns:t="{NAMESPACE}">{element("ExternalReference", reference)}'
    return _envelope(f"{head}{inner}</t:FindClearanceResponse>")
