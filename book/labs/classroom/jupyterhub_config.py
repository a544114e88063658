"""The course on a JupyterHub: a container for each student, of the image that Dockerfile makes.

On the server, with Docker, Python and Node:

    docker build --tag infoflow-course .
    pip install "jupyterhub>=5.2,<6" dockerspawner && npm install -g configurable-http-proxy
    COURSE_PASSWORD=... jupyterhub --config book/labs/classroom/jupyterhub_config.py
"""

import os

c = get_config()  # noqa: F821

c.JupyterHub.spawner_class = "dockerspawner.DockerSpawner"
c.DockerSpawner.image = "infoflow-course"
c.DockerSpawner.cmd = ["jupyterhub-singleuser"]  # a plain `jupyter lab` never answers the hub
c.DockerSpawner.remove = True
# what a student writes stays in a volume of her own, which begins with the labs of the image
c.DockerSpawner.volumes = {"course-{username}": "/home/jovyan/book"}
c.Spawner.default_url = "/lab/tree/book/labs/student/lab1_tokens.ipynb"
c.Spawner.mem_limit = "2G"
c.Spawner.cpu_limit = 1

# students choose a name and share a password, which the lecturer gives out
c.JupyterHub.authenticator_class = "shared-password"
c.SharedPasswordAuthenticator.user_password = os.environ.get("COURSE_PASSWORD", "")
c.Authenticator.allow_all = True

# containers reach the hub by the host, on Linux too; the proxy, which runs beside it, as before
c.JupyterHub.hub_ip = "0.0.0.0"
c.JupyterHub.hub_connect_ip = "127.0.0.1"
c.DockerSpawner.hub_connect_url = "http://host.docker.internal:8081"
c.DockerSpawner.extra_host_config = {"extra_hosts": {"host.docker.internal": "host-gateway"}}
