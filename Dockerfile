# The course in a container, in the versions of requirements.lock. Binder builds it for a fork, too, and
# a JupyterHub starts it for each student; for both of them the user and jupyterhub are there.
#   docker build --tag infoflow-course .
#   docker run --rm --publish 8888:8888 infoflow-course
FROM python:3.11-slim

ARG NB_USER=jovyan
ARG NB_UID=1000
RUN useradd --create-home --uid ${NB_UID} ${NB_USER}

# an index with a build of torch for CPUs, or CUDA's libraries come along: --build-arg
ARG PIP_EXTRA_INDEX_URL
COPY requirements.lock pyproject.toml README.md LICENSE /src/
COPY lib /src/lib
RUN pip install --no-cache-dir --constraint /src/requirements.lock /src "jupyterhub>=5.2,<6" \
    && rm -rf /src

COPY --chown=${NB_UID} book/labs/student /home/${NB_USER}/book/labs/student
ENV OMP_NUM_THREADS=1 HOME=/home/${NB_USER}
USER ${NB_USER}
WORKDIR /home/${NB_USER}
EXPOSE 8888
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--no-browser"]
