"""`archive delete`: what its journal and its hints name."""

from etcdup.cli.apply.archive import delete_verb


def test_the_hint_that_resumes_has_all_options_that_decide_what_is_deleted() -> None:
    assert delete_verb(None, None, with_undo=False) == "archive delete"
    assert (
        delete_verb("infra2", "30d", with_undo=True) == "archive delete infra2 --older-than 30d --with-undo"
    )
    assert delete_verb(None, "1 day", with_undo=False) == "archive delete --older-than '1 day'"
