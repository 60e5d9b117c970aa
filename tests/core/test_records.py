"""What results record about the code and machine that computed them."""

import subprocess

from bigain.core.records import environment, git_state


def test_the_environment_says_which_commit_and_whether_code_was_changed_since(tmp_path):
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=n", "-c", "user.email=e@localhost"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    assert git_state(tmp_path) == {}
    (tmp_path / "records.py").write_text("1")
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "first")
    state = git_state(tmp_path)
    assert (len(state["commit"]), state["code"]) == (40, "as committed")
    (tmp_path / "records.py").write_text("2")
    assert git_state(tmp_path) == state | {"code": "changed"}
    assert {"python", "torch", "machine"} <= set(environment())
