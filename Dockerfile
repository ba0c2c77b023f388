# The search service as a container:
#
#   docker build -t sightline .                           # for CPUs
#   docker build -t sightline --build-arg DEVICE=cuda .   # for NVIDIA GPUs (run it with --gpus all)
#   docker run -p 8000:8000 -v "$PWD/runs:$PWD/runs:ro" sightline serve "$PWD/runs/demo/index"
#
# An index names its model and its page images by their paths, so they are mounted where they lie outside; an index
# that is whole in itself may be mounted at /index, which is what is served by default. docs/deploying.md says more.
ARG PYTHON=3.12

FROM python:${PYTHON}-slim-bookworm AS build
ARG DEVICE=cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PATH=/opt/sightline/bin:$PATH
RUN python -m venv /opt/sightline
# torch alone and first: its layer (some hundred MB, some GB with CUDA) stays when anything else changes.
RUN case "$DEVICE" in \
      cpu) pip install --index-url https://download.pytorch.org/whl/cpu "torch==2.13.0" ;; \
      cuda) pip install "torch==2.13.0" ;; \
      *) echo "DEVICE is cpu or cuda, not $DEVICE" >&2; exit 1 ;; \
    esac
WORKDIR /source
COPY pyproject.toml ./
# What pyproject.toml asks for, without Sightline itself: this layer stays when only the code changes.
RUN python -c "import tomllib; asked = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
print('\n'.join(asked['dependencies'] + asked['optional-dependencies']['serve']))" > requirements.txt \
    && pip install --requirement requirements.txt
COPY README.md LICENSE ./
COPY src ./src
RUN pip install --no-deps .

FROM python:${PYTHON}-slim-bookworm
RUN useradd --uid 10001 --create-home sightline && mkdir /index && chown sightline /index
COPY --from=build /opt/sightline /opt/sightline
ENV PATH=/opt/sightline/bin:$PATH PYTHONUNBUFFERED=1 \
    SIGHTLINE_SERVE_HOST=0.0.0.0 SIGHTLINE_SERVE_PORT=8000
# By number, so that Kubernetes' runAsNonRoot can see that it is not root.
USER 10001
WORKDIR /home/sightline
VOLUME /index
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['SIGHTLINE_SERVE_PORT'] + '/healthz', timeout=4)"]
ENTRYPOINT ["sightline"]
CMD ["serve", "/index"]
