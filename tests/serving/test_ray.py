"""tools/serve_ray.py: arguments become settings; a replica answers on a local Ray, where there is one."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
from support import ROOT, environment

from tools import serve_ray

# Serve and a request in a process of its own, which ends all that Ray has started
ONE_REQUEST = """
import contextlib, socket, sys, time
import numpy as np
import ray
from ray import serve
from tritonclient.http import InferenceServerClient, InferInput
from tools.serve_ray import app

with socket.socket() as found:
    found.bind(("127.0.0.1", 0))
    port = found.getsockname()[1]
ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
with contextlib.suppress(TimeoutError):  # on a busy machine the proxy needs more than a minute
    serve.start(http_options={"host": "127.0.0.1", "port": port})
serve.run(app({"model_path": "u2netp_msra", "cpus": "1"}))
photo = np.random.default_rng(0).integers(0, 256, (1, 50, 60, 3), dtype=np.uint8)
tensor = InferInput("image", list(photo.shape), "UINT8").set_data_from_numpy(photo)
with InferenceServerClient(f"127.0.0.1:{port}", network_timeout=60) as client:
    for _ in range(300):
        with contextlib.suppress(OSError):
            client.is_server_live()
            break
        time.sleep(1)
    np.save(sys.argv[1], client.infer("u2netp_msra", [tensor]).as_numpy("probabilities"))
serve.shutdown()
ray.shutdown()
"""
PATIENT = {f"RAY_SERVE_PROXY_{name}_CHECK_TIMEOUT_S": "120" for name in ("READY", "HEALTH")}


@pytest.mark.skipif(not find_spec("ray"), reason="needs ray: pip install -e '.[cluster]'")
def test_a_replica_on_a_local_ray_predicts_what_the_predictor_predicts(tmp_path):
    import numpy as np

    from paddleseg_u2net.inference.predictor import Predictor

    photo = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    expected = Predictor("u2netp_msra")(photo).saliency  # the cache then holds the export, also for Ray
    command = [sys.executable, "-c", ONE_REQUEST, tmp_path / "found.npy"]
    variables = environment(RAY_USAGE_STATS_ENABLED="0", **PATIENT)
    outcome = subprocess.run(command, capture_output=True, text=True, env=variables, cwd=ROOT, timeout=400)
    assert outcome.returncode == 0, outcome.stderr
    np.testing.assert_allclose(np.load(tmp_path / "found.npy")[0, 0], expected, atol=1e-4)


@pytest.fixture
def deployed(monkeypatch):
    """What Ray Serve is asked for: the options, and the function that makes the application."""
    asked = {}

    def deployment(**options):
        asked.update(options)
        return lambda made: SimpleNamespace(bind=lambda: made)

    serve = SimpleNamespace(deployment=deployment, ingress=lambda build: lambda: asked.update(build=build))
    monkeypatch.setattr(serve_ray, "need", lambda name: serve)
    return asked


def settings_of(deployed, monkeypatch):
    """The settings with which a replica makes its application."""
    found = []
    monkeypatch.setattr("paddleseg_u2net.serving.app.create_app", found.append)
    monkeypatch.setenv("PADDLE_LOCAL_SIZE", "1")  # `build` changes it
    deployed["build"]()
    return found[0]


def test_arguments_are_the_flags_of_the_server_and_those_of_the_replicas(deployed, monkeypatch):
    arguments = {
        "model_path": "u2netp disc=/shared/my\\ run",
        "max_bytes": "1000",
        "replicas": "3",
        "cpus": "2",
    }
    serve_ray.app(arguments)
    assert deployed["num_replicas"] == 3
    assert deployed["ray_actor_options"] == {"num_cpus": 2, "num_gpus": 0}
    settings = settings_of(deployed, monkeypatch)
    assert settings.models == {"u2netp": "u2netp", "disc": "/shared/my run"}
    assert (settings.max_bytes, settings.hosts) == (1000, ())
    assert arguments["replicas"] == "3"  # what the caller gave is as it was
    serve_ray.app({"device": "gpu", "allowed_hosts": "example.org"})
    assert deployed["ray_actor_options"]["num_gpus"] == 1
    assert "example.org" in settings_of(deployed, monkeypatch).hosts
    serve_ray.app({"allow_urls": ""})
    assert settings_of(deployed, monkeypatch).allow_urls


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", ""])
def test_a_wrong_number_of_replicas_is_named_and_the_fix_works(deployed, text):
    with pytest.raises(
        ValueError, match=f"replicas={text}: expected a whole number above 0. Fix: replicas=1"
    ):
        serve_ray.app({"replicas": text})
    serve_ray.app({"replicas": "1"})


def test_an_argument_that_the_server_does_not_have_is_named(deployed, capsys):
    with pytest.raises(SystemExit):
        serve_ray.app({"replica": "2"})
    assert "--replica" in capsys.readouterr().err
