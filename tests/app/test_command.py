from bpr.app import __main__ as command


def test_without_gradio_one_line_says_how_to_install_it(monkeypatch, capsys):
    monkeypatch.setattr(command, "exit_at_signals", lambda: None)
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert command.main([]) == 2
    assert capsys.readouterr().err == "error: bpr app needs: pip install -e '.[app]'\n"
