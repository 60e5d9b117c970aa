# The study's environment, pinned by envs/requirements.lock, with the package installed. This image is not published: build
# it with `docker build -t bigain .`. envs/README.md explains how Snakemake uses it.
FROM python:3.11-slim-bookworm

# LaTeX for the report's PDF, in the version that Debian currently has.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends texlive-latex-recommended texlive-fonts-recommended \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/bigain
COPY envs/requirements.lock envs/
RUN pip install --no-cache-dir -r envs/requirements.lock
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE NOTICE Snakefile ./
COPY bigain bigain
COPY workflow workflow
COPY profiles profiles
COPY config config
COPY resources resources
RUN pip install --no-cache-dir --no-deps --no-build-isolation .

ENV MPLBACKEND=Agg
WORKDIR /work
CMD ["bigain", "--help"]
