# The sidecar as an image: the locked dependencies, nothing to build with, no root.
#
#   docker build -t llm-sidecar .
#   docker run -d --network host --read-only -v /etc/sidecar:/etc/sidecar:ro llm-sidecar
#
# PYTHON_IMAGE may be any image with Python >= 3.11 and pip; name it by its digest to build the same twice.
ARG PYTHON_IMAGE=docker.io/library/python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /build
COPY requirements.lock requirements-build.lock ./
# Wheels only: nothing that is fetched is run while it is installed.
RUN python -m pip install --no-cache-dir --root-user-action=ignore --only-binary :all: --require-hashes \
        -r requirements-build.lock \
    && python -m venv --without-pip /opt/llm-sidecar \
    && python -m pip --python /opt/llm-sidecar/bin/python install --no-cache-dir --only-binary :all: --require-hashes \
        -r requirements.lock
COPY . .
RUN python -m pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir dist . \
    && python -m pip --python /opt/llm-sidecar/bin/python install --no-cache-dir --no-deps --no-index dist/*.whl

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="llm-sidecar" \
      org.opencontainers.image.description="A daemon beside your app that makes its LLM calls reliable" \
      org.opencontainers.image.licenses="Apache-2.0"
# Python's own modules come without byte code in the official images, and a user who is not root, or a root file
# system that is read-only, could never keep it: every probe would compile them anew. pip is of no use any more.
RUN python -m compileall -q -x '/(ensurepip|idlelib|lib2to3|site-packages|test|tests|tkinter|turtledemo)/' \
        "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
    && python -c 'import ensurepip, shutil; shutil.rmtree(ensurepip.__path__[0])' \
    && python -m pip uninstall --yes --root-user-action=ignore pip \
    && mkdir -p /etc/sidecar /run/sidecar \
    && chown 65532:65532 /run/sidecar
COPY --from=build /opt/llm-sidecar /opt/llm-sidecar
ENV PATH=/opt/llm-sidecar/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONFAULTHANDLER=1 \
    RUNTIME_DIRECTORY=/run/sidecar \
    SIDECAR_CONFIG=/etc/sidecar/sidecar.yaml
# For the sockets; a volume is writable where the root file system is not.
VOLUME ["/run/sidecar"]
# A number, so that Kubernetes can tell that it is not root.
USER 65532:65532
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
    CMD ["sidecar", "health", "--socket", "/run/sidecar/admin.sock"]
ENTRYPOINT ["sidecar"]
CMD ["serve", "--strict"]
