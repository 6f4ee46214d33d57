from types import SimpleNamespace

import pytest

from bpr.refine.writer import RefinementWriter


@pytest.mark.parametrize(("output", "named"), [(None, ""), ("refined.json", " with output=refined.json")])
def test_an_interrupted_run_says_how_to_resume(tmp_path, capsys, output, named):
    writer = RefinementWriter(tmp_path / "refined.json.parts", "digest", output)
    writer.on_predict_start(SimpleNamespace(global_rank=0), None)
    writer.on_exception(None, None, KeyboardInterrupt())
    assert f"interrupted; the same command{named} resumes from" in capsys.readouterr().err
