# The bus with the workspace beside it; any role of it, or an agency's host: docker-compose.yml says which.
# A government's own workspace takes the place of this one: COPY it to /workspace in an image made FROM this one.

FROM python:3.12-slim AS build
RUN python -m venv /opt/bus
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY bus bus
RUN /opt/bus/bin/pip install --no-cache-dir --disable-pip-version-check --constraint constraints.txt ".[soap]"

FROM python:3.12-slim AS bus
# Volumes are mounted here by users that only docker-compose.yml knows; the bus makes a folder of its own in them.
RUN mkdir -m 1777 /data /definitions
COPY --from=build /opt/bus /opt/bus
ENV PATH=/opt/bus/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /workspace
COPY routes.yaml ./
COPY routes routes
COPY groups groups
COPY schemas schemas
COPY adapters adapters
COPY env env
COPY scripts/connected.py scripts/
# Secrets are mounted here, each into the containers that need it. None is ever in the image.
RUN mkdir secrets
USER 10001:10001
CMD ["bus", "serve", "--data", "/data/bus"]
HEALTHCHECK --interval=10s --timeout=10s --start-period=60s CMD ["bus", "health", "--data", "/data/bus"]

# For backups of a store in PostgreSQL, which are made and read in with its own programs; of the release that the
# base image's Debian has, which must not be older than the server.
FROM bus AS tools
USER root
RUN apt-get update \
    && apt-get install --yes --no-install-recommends postgresql-client \
    && rm -rf /var/lib/apt/lists/*
USER 10001:10001
HEALTHCHECK NONE

# What `docker build` makes where nothing else is asked for.
FROM bus
