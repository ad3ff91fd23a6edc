"""What is in the image, and what is not."""

from __future__ import annotations

import pytest

import onepass

pytestmark = pytest.mark.image

BUDGET_MB = 352
"""For what this image adds to its base, on disk. NumPy, SciPy and their libraries take 165."""


def test_says_what_sagemaker_may_do_with_it(image):
    labels = image.inspect["Config"]["Labels"]
    assert labels["com.amazonaws.sagemaker.capabilities.accept-bind-to-port"] == "true"
    assert labels["com.amazonaws.sagemaker.capabilities.multi-models"] == "true"


def test_says_what_it_is(image):
    labels = image.inspect["Config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == "Onepass"
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert labels["org.opencontainers.image.source"].startswith("https://")
    assert labels["org.opencontainers.image.version"] == onepass.__version__
    assert image.shell("python -c 'import onepass; print(onepass.__version__)'") == (
        f"{onepass.__version__}\n"
    )


def test_keeps_to_its_size(image, record_property, capsys):
    total_mb = image.inspect["Size"] / 1e6
    own_mb = int(image.shell("du -s --apparent-size --block-size=MB /opt/onepass").split("MB")[0])
    record_property("image_mb", round(total_mb))
    record_property("own_mb", own_mb)
    with capsys.disabled():
        print(f"\nimage {image.name}: {total_mb:.0f} MB, {own_mb} MB of them above its base")
    assert own_mb <= BUDGET_MB


def test_holds_no_installer_and_no_compiler(image):
    assert image.shell("command -v pip pip3 gcc cc g++ make uv") == ""
    assert image.shell("python -m pip --version") == ""
    assert image.shell("ls -d /root/.cache /build 2>/dev/null") == ""
    assert image.shell("python -c 'import setuptools'") == ""


def test_holds_bytecode_for_every_module(image):
    modules = "find /opt/onepass/lib -name '*.py' | wc -l"
    compiled = "find /opt/onepass/lib -name '*.pyc' | wc -l"
    assert int(image.shell(modules)) == int(image.shell(compiled)) > 100


def test_holds_nothing_its_users_cannot_read(image):
    assert image.shell("find /opt/onepass ! -type l ! -perm -o+r") == ""
    assert image.shell("find /usr/local/bin/train /usr/local/bin/serve -perm 755 | wc -l") == "2\n"


def test_numpy_and_scipy_work_without_their_tests(image):
    script = "import numpy.testing, scipy.sparse, scipy.linalg; print('yes')"
    assert image.shell(f'python -c "{script}"') == "yes\n"


def test_computes_with_compiled_kernels(image):
    code = "from onepass.cluster.kernels import cpu; print(cpu.describe())"
    assert image.shell(f"python -c '{code}'").startswith("compiled kernels, ")
