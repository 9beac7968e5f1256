# Prediction on a CPU (docs/install.md):
#   docker build -t u2net .
FROM python:3.11-slim
WORKDIR /src
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY configs configs
COPY paddleseg_u2net paddleseg_u2net
RUN pip install --no-cache-dir '.[predict,openvino]'
# weights and verified exports; any user of the host may write to both folders
ENV U2NET_HOME=/cache
RUN install -d -m 1777 /cache /work
WORKDIR /work
ENTRYPOINT ["u2net"]
