"""The files of the wide workspace that tests break."""

from __future__ import annotations

MALL = "routes/open-mall.yaml"
REGISTRY = "routes/registry.yaml"
TOWNS = "routes/towns.yaml"
TABLE = "groups/towns.csv"
PERSONS = "schemas/test-persons.yaml"
REQUEST = "schemas/service/open-mall.v1.request.json"
