# The image of the tool itself: tfbundle with everything it needs to build, verify and serve bundles (CPU only).
#
#   docker build -t tfbundle .
#   docker run --rm -v "$PWD:/work" --user "$(id -u):$(id -g)" tfbundle build model.py:model -o dist/model
#   docker run --rm --init -v "$PWD:/work:ro" -p 8500:8500 -p 8501:8501 tfbundle serve --host=0.0.0.0 dist/model
#
# A tag can move. For a reproducible build, pass --build-arg DIGEST=@sha256:… with the digest that
# docker buildx imagetools inspect python:3.11-slim prints.
ARG PYTHON=3.11
ARG DIGEST=

FROM python:${PYTHON}-slim${DIGEST} AS build
# PyPI's torch for Linux includes gigabytes of CUDA libraries; PyTorch's own index has a build for CPU.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# Extras: serve, onnx, build, and timm, hf, demo, which include build; images and plots (see pyproject.toml).
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
# The virtual environment contains absolute paths, so it must stay at the path where it was created.
COPY --from=build /opt/tfbundle /opt/tfbundle
# Any user can run the image (--user), so libraries cache files in a folder that everyone can write to.
ENV PATH=/opt/tfbundle/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    TF_CPP_MIN_LOG_LEVEL=2
USER 10001:10001
WORKDIR /work
EXPOSE 8500 8501
ENTRYPOINT ["tfbundle"]
CMD ["--help"]
