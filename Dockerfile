# Prediction and serving on a CPU (docs/install.md, docs/serving.md):
#   docker build -t u2net .
#   docker run --rm --read-only --tmpfs /tmp -p 127.0.0.1:7000:7000 -v u2net-cache:/cache u2net
FROM python:3.11-slim
WORKDIR /src
COPY pyproject.toml README.md LICENSE NOTICE tools/constraints.txt ./
COPY configs configs
COPY paddleseg_u2net paddleseg_u2net
# hadolint ignore=DL3013  # constraints.txt has the versions
RUN pip install --no-cache-dir -c constraints.txt '.[predict,openvino,serve]' \
    # weights and verified exports; any user of the host may write to both folders
    && install -d -m 1777 /cache /work
ENV U2NET_HOME=/cache PYTHONDONTWRITEBYTECODE=1
WORKDIR /work
USER 1000
EXPOSE 7000
HEALTHCHECK --start-period=120s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7000/health', timeout=3)"]
ENTRYPOINT ["u2net"]
CMD ["serve", "--host", "0.0.0.0"]
