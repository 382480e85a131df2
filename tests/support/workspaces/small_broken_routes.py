"""Ways to break the routes of the small workspace: their language, their agencies, their steps and paths."""

from __future__ import annotations

from tests.support.workspaces.copies import Edit

#: What is broken -> the edit (the mark stands where the fault is told), the code, and words of the mend.
BROKEN_ROUTES: dict[str, tuple[Edit, str, str]] = {
    "a misspelt key": (Edit(old="final: true", new="☞finale: true"), "unknown-name", "Did you mean final?"),
    "another version of the language": (Edit(old="version: 1", new="version: ☞2"), "bad-value", ""),
    "a missing title": (
        Edit(old="{title: {en: Licensing, ar: الترخيص}, legal", new="☞{legal"),
        "missing-name",
        "Add title.",
    ),
    "a title in one language": (Edit(old="{en: Name, ar: الاسم}", new="☞{en: Name}"), "missing-name", "Add ar."),
    "a list where a record belongs": (
        Edit(old="input: {name: request.shop.name}", new="input: ☞[request.shop.name]"),
        "wrong-kind",
        "Write a record.",
    ),
    "a duration without unit": (Edit(old="deadline: 10d", new="deadline: ☞10 days"), "bad-value", "5s, 10m, 2h, 10d"),
    "an unknown end": (
        Edit(old="final: true", new="final: true\n        on_refused: ☞contine"),
        "not-a-choice",
        "Did you mean continue?",
    ),
    "a name with a line end": (
        Edit(old="\n      survey:", new='\n      ☞"survey\\n":'),
        "bad-name",
        "small letters",
    ),
    "a duration with a line end": (Edit(old="deadline: 10d", new='deadline: ☞"10d\\n"'), "bad-value", "5s, 10m"),
    "a bad step name": (Edit(old="\n      survey:", new="\n      ☞Survey:"), "bad-name", "small letters"),
    "a service without version": (Edit(old="open-shop.v1:", new="☞open-shop:"), "bad-name", "open-business.v1"),
    "the same key twice": (
        Edit(old="optional: true", new="optional: true\n        ☞optional: true"),
        "duplicate-name",
        "Keep one",
    ),
    "an anchor": (Edit(old="needs: [permit]", new="needs: ☞&n [permit]"), "anchor", "Remove it."),
    "a word that YAML readers dispute": (Edit(old="desk: true", new="desk: ☞yes"), "quarrelsome-word", "true or false"),
    "an unknown provider": (
        Edit(old="provider: registry\n        operation: shop", new="provider: ☞regstry\n        operation: shop"),
        "unknown-agency",
        "Did you mean registry?",
    ),
    "a provider that only asks": (
        Edit(old="provider: registry\n        operation: shop", new="provider: ☞portal\n        operation: shop"),
        "no-adapter",
        "Give portal an adapter: or desk: true.",
    ),
    "an agency with adapter and desk": (
        Edit(old="adapter: registry}", new="adapter: registry, desk: ☞true}"),
        "two-ways",
        "Keep one",
    ),
    "an unknown adapter folder": (
        Edit(old="adapter: registry}", new="adapter: ☞registri}"),
        "unknown-adapter",
        "Did you mean registry?",
    ),
    "an operation that is not offered": (
        Edit(old="operation: shop.register.v1", new="operation: ☞shop.register.v2"),
        "unknown-operation",
        "Did you mean shop.register.v1?",
    ),
    "a compensation that is not offered": (
        Edit(old="operation: name.release.v1", new="operation: ☞name.releas.v1"),
        "unknown-operation",
        "Did you mean name.release.v1?",
    ),
    "an operation that a desk has no contract for": (
        Edit(
            old="operation: site.permit.v1\n        input: {address: request.shop",
            new="operation: ☞site.permits.v1\n        input: {address: request.shop",
        ),
        "unknown-operation",
        "Did you mean site.permit.v1?",
    ),
    "an unknown consumer": (Edit(old="portal: {purposes", new="☞portel: {purposes"), "unknown-agency", "portal?"),
    "an unknown purpose": (
        Edit(old="purposes: [licensing]", new="purposes: [☞licencing]"),
        "unknown-purpose",
        "licensing?",
    ),
    "a field that the result has not": (
        Edit(old="/permit/number]", new="☞/permit/nummer]"),
        "unknown-member",
        "Did you mean number?",
    ),
    "a field that is no pointer": (Edit(old="[/shop_number,", new="[☞shop_number,"), "bad-pointer", "/company_number"),
    "a contract that is not there": (
        Edit(old="request: service/open-shop.v1.request.json", new="request: ☞service/open-shop.v1.requst.json"),
        "contract-missing",
        "service/open-shop.v1.request.json?",
    ),
    "a need of an unknown step": (
        Edit(old="needs: [name, permit]", new="needs: [name, permit, ☞nam]"),
        "unknown-step",
        "name?",
    ),
    "steps in a circle": (
        Edit(old="needs: [name]", new="needs: ☞[name, survey]"),
        "circle",
        "Take one of these needs away.",
    ),
    "a final step that does not wait": (
        Edit(old="optional: true", new="optional: false"),
        "final-too-early",
        "Add survey to its needs.",
    ),
    "an optional step that rejects": (
        Edit(old="optional: true", new="optional: true\n        on_refused: ☞reject"),
        "optional-rejects",
        "Write continue",
    ),
    "a default by which optional steps reject": (
        Edit(old="  backoff: {attempts: 5, first: 2s}", new="  optional: {on_refused: ☞reject}"),
        "optional-rejects",
        "",
    ),
    "a subject outside the request": (
        Edit(old="subject: request.owner.number", new="subject: ☞steps.name.reservation"),
        "bad-path",
        "request.<member>",
    ),
    "a subject that is no text": (
        Edit(old="subject: request.owner.number", new="subject: ☞request.owner"),
        "wrong-type",
        "identifier",
    ),
    "a subject that may be absent": (
        Edit(old="subject: request.owner.number", new="subject: ☞request.owner.nickname"),
        "optional-source",
        "required",
    ),
    "an unknown member": (
        Edit(old="{name: request.shop.name}", new="{name: ☞request.shop.nama}"),
        "unknown-member",
        "Did you mean name?",
    ),
    "a path that is none": (Edit(old="{name: request.shop.name}", new="{name: ☞shop.name}"), "bad-path", ""),
    "an item without for_each": (
        Edit(old="{name: request.shop.name}", new="{name: ☞item.name}"),
        "no-item",
        "request or steps",
    ),
    "a path to an unknown step": (
        Edit(old="{reservation: steps.name.reservation, kind", new="{reservation: ☞steps.nam.reservation, kind"),
        "unknown-step",
        "Did you mean name?",
    ),
    "a path to a step that is not waited for": (
        Edit(old="{name: request.shop.name}", new="{name: ☞steps.permit.number}"),
        "not-needed",
        "Add permit to the needs of name.",
    ),
    "a step that reads itself": (
        Edit(old="{name: request.shop.name}", new="{name: ☞steps.name.reservation}"),
        "not-needed",
        "earlier step",
    ),
    "a step that reads what it was given": (
        Edit(old="{name: request.shop.name}", new="{name: ☞input.name}"),
        "bad-path",
        "Write request.<member>",
    ),
    "an unknown member of what a step was given": (
        Edit(
            old="input: {reservation: steps.name.reservation}, attempts",
            new="input: {reservation: ☞input.nam}, attempts",
        ),
        "unknown-member",
        "Did you mean name?",
    ),
    "a value of another type": (
        Edit(old="{name: request.shop.name}", new="{name: ☞request.owner.age}"),
        "wrong-type",
        "Read a value of that type.",
    ),
    "a whole record as value": (
        Edit(old="{name: request.shop.name}", new="{name: ☞request.shop}"),
        "whole-record",
        "one by one",
    ),
    "a whole step as value": (
        Edit(old="permit: steps.permit.number}", new="permit: ☞steps.permit}"),
        "whole-record",
        "one by one",
    ),
    "an optional source for a required member": (
        Edit(old="{name: request.shop.name}", new="{name: ☞request.owner.nickname}"),
        "optional-source",
        "when:",
    ),
    "an optional record before a required member": (
        Edit(old="{address: request.owner.address}", new="{address: ☞request.shop.premises.address}"),
        "optional-source",
        "when:",
    ),
    "a step that may be skipped before a required member": (
        Edit(old="shop_number: steps.register.shop_number", new="shop_number: ☞steps.permit.number"),
        "skipped-source",
        "always has output",
    ),
    "a step whose refusal continues before a required member": (
        Edit(old="backoff: {factor: 2}", new="on_refused: continue"),
        "skipped-source",
        "always has output",
    ),
    "a required member left out": (
        Edit(old="{reservation: steps.name.reservation, kind: {const: sole},", new="☞{kind: {const: sole},"),
        "missing-member",
        "Add reservation.",
    ),
    "a member that the contract has not": (
        Edit(old="permit: steps.permit.number}", new="☞permitt: steps.permit.number}"),
        "unknown-member",
        "permit?",
    ),
    "an output that the result has not": (
        Edit(old="permit_number: steps.permit", new="☞permit_numer: steps.permit"),
        "unknown-member",
        "permit_number?",
    ),
    "a literal that the contract refuses": (
        Edit(old="{const: sole}", new="{const: ☞soul}"),
        "wrong-value",
        "Did you mean sole?",
    ),
    "choices that do not agree": (
        Edit(old="kind: {const: sole}", new="kind: ☞request.shop.kind"),
        "wrong-choices",
        "two contracts agree",
    ),
    "a condition that never holds": (
        Edit(old="in: [food, drink]", new="in: [food, ☞drinks]"),
        "wrong-value",
        "Did you mean drink?",
    ),
    "a condition on an unknown member": (
        Edit(old="when: request.shop.premises", new="when: ☞request.shop.premise"),
        "unknown-member",
        "premises?",
    ),
    "a compensation that reads a later step": (
        Edit(
            old="{operation: name.release.v1, input: {reservation: steps.name.reservation}",
            new="{operation: name.release.v1, input: {reservation: ☞steps.permit.number}",
        ),
        "not-needed",
        "Add permit",
    ),
}
