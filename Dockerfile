# Workers of gloss-tune in a container, for 'gloss-tune launch --on kubernetes' and for any other engine of containers.
#
#   docker build --tag gloss-tune:0.1.0 .
#   docker build --tag gloss-tune:0.1.0 --build-arg BASE=nvidia/cuda:12.8.1-base-ubuntu24.04 .
#
# BASE is any Debian or Ubuntu whose python3 is 3.10 or newer. torch as PyPI has it for Linux brings CUDA's libraries
# (several GB), and the base for CUDA only asks NVIDIA's container runtime for the driver's. For CPUs alone, INDEX may name
# an index that has torch without them, and all else. EXTRAS are those of pyproject.toml.
ARG BASE=debian:bookworm-slim
FROM ${BASE}

ARG EXTRAS=offline,postgres,hub,parquet
ARG INDEX=

RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends ca-certificates python3 python3-venv tini \
    && rm -rf /var/lib/apt/lists/*

COPY pyproject.toml constraints.txt README.md LICENSE /src/
COPY gloss_tune /src/gloss_tune
COPY studies /src/studies
RUN python3 -m venv /opt/gloss-tune \
    && /opt/gloss-tune/bin/pip install --no-cache-dir ${INDEX:+--index-url "$INDEX"} --constraint /src/constraints.txt \
        "/src[$EXTRAS]" \
    && rm -rf /src

# Whoever runs it, by number: a base may have a user 1000 of its own, and Kubernetes compares numbers
RUN install --directory --owner=1000 --group=1000 /cache
ENV PATH=/opt/gloss-tune/bin:$PATH HOME=/cache LOGNAME=gloss-tune PYTHONDONTWRITEBYTECODE=1
USER 1000:1000
WORKDIR /cache

# Process 1 hears no signal that it has no handler for: tini passes them on, from the first moment
ENTRYPOINT ["tini", "--", "gloss-tune"]
CMD ["--help"]
