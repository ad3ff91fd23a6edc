"""schemathesis asks the server all that its OpenAPI document allows, and much that it does not."""

from __future__ import annotations

import subprocess

import pytest

pytestmark = [pytest.mark.oracle, pytest.mark.slow]


@pytest.mark.parametrize(
    ("variables", "excluded"),
    [
        ({"SAGEMAKER_MAX_PAYLOAD_IN_MB": "1"}, "/(models|metrics)"),
        ({"SAGEMAKER_MULTI_MODEL": "true", "ONEPASS_METRICS": "true"}, "/invocations"),
    ],
    ids=["one-model", "many-models"],
)
def test_every_answer_is_as_the_document_says(
    oracle_python, serve, base, tmp_path, variables, excluded
):
    with serve(base, **variables) as server:
        url = f"http://127.0.0.1:{server.port}"
        done = subprocess.run(
            [
                *(oracle_python("schemathesis").with_name("st"), "run", f"{url}/openapi.json"),
                *("--url", url, "--max-examples", "50", "--seed", "1", "--continue-on-failure"),
                *("--exclude-path-regex", f"^{excluded}"),
                # What the schema allows has as many features as it likes; a model has not.
                *("--exclude-checks", "positive_data_acceptance", "--no-color"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Traceback" not in server.log
        assert '"status":5' not in server.log.replace('"status":507', "")
    assert " generated, " in done.stdout
