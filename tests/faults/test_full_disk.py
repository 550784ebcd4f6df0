"""No room any more: one line, nothing half-written is listed, and the study goes on when there is room again."""

import pytest
from sqlalchemy.engine import make_url


@pytest.mark.slow
def test_a_database_without_room_is_told_in_one_line_and_goes_on_with_room(make_study, assert_sound, make_toml):
    study = make_study(make_toml(trials=8, epochs=2), workers=1)
    study.start(largest=700 * 1024)  # the write-ahead log is full first, after two trials or so
    assert study.process.wait(300) == 2
    out = (study.folder / "out").read_text()
    last = out.splitlines()[-1]
    path = make_url(study.url).database
    assert last.startswith(f"error: cannot use the study database sqlite:///{path}: "), out
    assert last.endswith("; make room on its disk and run the same command again")
    assert "Traceback" not in out
    before = study.finished()
    assert 0 < len(before) < 8
    study.run_out(within=300)
    assert_sound(study, 8, before)
