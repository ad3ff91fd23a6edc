# One image that trains and serves:  docker build -t onepass .
# All stages stand on the same base, so the environment's link to its Python holds in each.
# Any Debian-like base with python3 and its venv module will do.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS builder
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
# For the package's parts in C. Compiler and pip stay behind in this stage.
RUN apt-get update -qq \
    && apt-get install -qq --no-install-recommends gcc libc6-dev >/dev/null \
    && rm -rf /var/lib/apt/lists/*
# pip lives in an environment of its own.
RUN python3 -m venv tools && python3 -m venv --without-pip /opt/onepass
COPY container/requirements.lock container/build.lock ./
RUN tools/bin/pip install --require-hashes --only-binary :all: -r build.lock \
    && tools/bin/pip --python /opt/onepass/bin/python install --no-compile \
        --require-hashes --only-binary :all: -r requirements.lock \
    # botocore knows every service of AWS, in 22 MB; S3 and what gives credentials are enough.
    && find /opt/onepass/lib/python3*/site-packages/botocore/data -mindepth 1 -maxdepth 1 -type d \
        ! -name s3 ! -name sts ! -name 'sso*' ! -name signin -exec rm -r {} + \
    # Test suites, 33 MB and as much again with bytecode, and what pyarrow has for other tasks than
    # CSV and Parquet: Flight, S3, sources, headers and second copies, 61 MB. Nothing here
    # imports them.
    && find /opt/onepass -type d -name tests -prune -exec rm -r {} + \
    && cd /opt/onepass/lib/python3*/site-packages/pyarrow \
    && rm -r include includes src *.pyx *.pxd *.pxi _flight.*.so _s3fs.*.so libarrow_flight.* \
        libarrow_python_flight.* libarrow_s3.* \
        libarrow_python.so libarrow_python.so.*.*.* \
    # Pillow draws PNG here, and neither reads nor writes what takes 7 MB: AVIF, WebP, profiles.
    && cd ../PIL && rm _avif.*.so _webp.*.so _imagingcms.*.so _imagingtk.*.so \
    && cd ../pillow.libs && rm libavif-* libwebp* libsharpyuv-* liblcms2-*
COPY pyproject.toml setup.py README.md LICENSE ./
COPY src src
# Bytecode is compiled here, since nothing can be written where the image runs; it is marked as
# never stale, since a copied file may change its date.
RUN tools/bin/pip wheel --no-build-isolation --no-deps --wheel-dir dist . \
    && tools/bin/pip --python /opt/onepass/bin/python install --no-compile --no-deps dist/*.whl \
    && /opt/onepass/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash \
        /opt/onepass/lib

FROM ${BASE_IMAGE} AS runtime
ARG VERSION=0.1.0
LABEL com.amazonaws.sagemaker.capabilities.accept-bind-to-port="true" \
      com.amazonaws.sagemaker.capabilities.multi-models="true" \
      org.opencontainers.image.title="Onepass" \
      org.opencontainers.image.description="K-means in one pass, a drop-in for SageMaker's" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/onepass-kmeans/onepass" \
      org.opencontainers.image.version="${VERSION}"
# A base that comes with pip loses it: nothing is installed at run time.
RUN rm -rf /usr/local/lib/python3*/site-packages/pip* /usr/local/bin/pip*
# A caller that sets an entrypoint of its own still finds `train` and `serve`.
COPY container/train container/serve /usr/local/bin/
ENV PATH=/opt/onepass/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
EXPOSE 8080
# Exec form: onepass is process 1 and gets the signals. No USER: SageMaker trains as root, and
# the image runs as any other user just as well.
ENTRYPOINT ["onepass"]
CMD ["train"]

FROM runtime AS cpu
COPY --from=builder /opt/onepass /opt/onepass

# CUDA's libraries are wheels, too; the driver comes with the machine.
FROM builder AS gpu-builder
COPY container/gpu.lock ./
RUN tools/bin/pip --python /opt/onepass/bin/python install --no-compile \
        --require-hashes --only-binary :all: -r gpu.lock \
    # Headers and static libraries, of use to compilers of other programs.
    && cd /opt/onepass/lib/python3*/site-packages \
    && find cupy* nvidia -type d -name tests -prune -exec rm -r {} + \
    && rm -rf nvidia/cublas/include nvidia/cublas/lib/libnvblas.so.* \
    && /opt/onepass/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash \
        cuda cupy cupyx cupy_backends

# With CUDA:  docker build --target gpu -t onepass:gpu .
# What is compiled for a kind of GPU is kept where any user may write.
FROM runtime AS gpu
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    CUPY_CACHE_DIR=/tmp/onepass-kernels
COPY --from=gpu-builder /opt/onepass /opt/onepass

# What is built unless another target is asked for.
FROM cpu
