# lossbench with Ray and the packaged trunks, for CPUs and GPUs: the wheels of torch bring CUDA along.
#   docker build -t lossbench .
#   docker run --rm --gpus all -v $PWD:/work -w /work lossbench run matrix.toml
# Another base needs Python 3.11 or later with its module venv. KubeRay asks for what ray[default] adds.
ARG BASE=python:3.11-slim
FROM ${BASE}
COPY . /lossbench
RUN python3 -m venv /opt/bench \
 && /opt/bench/bin/pip install --no-cache-dir --constraint /lossbench/constraints.txt '/lossbench[ray,remote,trunks]' 'ray[default]' \
 && rm -r /lossbench
ENV PATH=/opt/bench/bin:$PATH
# As a command of a cluster, such as that of KubeRay, the image is started with another entry point.
ENTRYPOINT ["bench"]
