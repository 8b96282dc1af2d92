# The tool's own image: tfbundle with everything it needs to build, prove and serve bundles (CPU).
#
#   docker build -t tfbundle .
#   docker run --rm -v "$PWD:/work" --user "$(id -u):$(id -g)" tfbundle build model.py:model -o dist/model
#   docker run --rm --init -v "$PWD:/work:ro" -p 8500:8500 -p 8501:8501 tfbundle serve --host=0.0.0.0 dist/model
#
# A tag can move. For a build that can be repeated: --build-arg DIGEST=@sha256:…, as docker buildx imagetools inspect
# python:3.11-slim prints it.
ARG PYTHON=3.11
ARG DIGEST=

FROM python:${PYTHON}-slim${DIGEST} AS build
# PyPI's torch for Linux brings gigabytes of CUDA; PyTorch's own index has it for CPU.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# Extras: timm, hf, images, demo (see pyproject.toml).
ARG EXTRAS=hf,images
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/tfbundle
ENV PATH=/opt/tfbundle/bin:$PATH
RUN pip install --index-url "$TORCH_INDEX" "torch>=2.13,<2.14"
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY bundler bundler
COPY serving serving
COPY k8s k8s
# hadolint ignore=DL3013
RUN pip install ".[$EXTRAS]" && tfbundle --version

FROM python:${PYTHON}-slim${DIGEST}
LABEL org.opencontainers.image.title="tfbundle" \
      org.opencontainers.image.description="PyTorch models as TensorFlow Serving SavedModels and TFLite files" \
      org.opencontainers.image.licenses="Apache-2.0"
# The virtual environment holds absolute paths, so it stands where it was made.
COPY --from=build /opt/tfbundle /opt/tfbundle
# Any user may run it (--user): what libraries cache goes to a folder that all may write.
ENV PATH=/opt/tfbundle/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    TF_CPP_MIN_LOG_LEVEL=2
USER 10001:10001
WORKDIR /work
EXPOSE 8500 8501
ENTRYPOINT ["tfbundle"]
CMD ["--help"]
