# syntax=docker/dockerfile:1
# The gateway on CPUs. `Dockerfile.gpu` is the same for machines with CUDA.
#   docker build -t model-shepherd:cpu .
#   docker run --shm-size=1g -p 8000:8000 -p 8001:8001 -v shepherd:/var/lib/shepherd model-shepherd:cpu
FROM ubuntu:24.04

ENV DEBIAN_FRONTEND=noninteractive \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PATH=/opt/venv/bin:$PATH \
    SHEPHERD_STATE=/var/lib/shepherd

# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/shepherd
COPY requirements/cpu.txt requirements/build.txt requirements/
RUN python3 -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --require-hashes -r requirements/cpu.txt

COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY serving serving
COPY router router
RUN /opt/venv/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt \
    && /opt/venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
    && groupadd --system --gid 10001 shepherd \
    && useradd --system --uid 10001 --gid 10001 --create-home --home-dir /var/lib/shepherd shepherd

# By number, so that a cluster can see that it is not root's.
USER 10001
VOLUME ["/var/lib/shepherd"]
EXPOSE 8000 8001 8002
# The admin API stays on the container's loopback: reach it by `docker exec ... shepherd`.
HEALTHCHECK --interval=10s --start-period=60s CMD ["/opt/venv/bin/python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/v2/health/ready', timeout=2)"]
ENTRYPOINT ["/opt/venv/bin/shepherd", "up"]
CMD ["--host", "0.0.0.0"]
