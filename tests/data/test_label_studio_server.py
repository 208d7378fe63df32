"""The real Label Studio: what we write it takes, what people do in it we read.

Needs the server's executable, which lives in an environment of its own: run scripts/label-studio-test.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from speechre.cli import main
from speechre.data.store import read_manifest, write_manifest
from tests.conftest import MakeSound
from tests.data.annotated import hard_utterances

EXECUTABLE = os.environ.get("SPEECHRE_LABEL_STUDIO", "")
TOKEN = "0123456789abcdef0123456789abcdef01234567"
START_S = 900

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(
        not EXECUTABLE,
        reason="SPEECHRE_LABEL_STUDIO does not name Label Studio's executable; run scripts/label-studio-test",
    ),
]


class Server:
    """A client of a running server."""

    def __init__(self, url: str, root: Path) -> None:
        self.url = url
        self.root = root

    def open(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        headers = {"Authorization": f"Token {TOKEN}", "Content-Type": "application/json"}
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, content, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def call(self, method: str, path: str, body: object = None) -> Any:
        status, content = self.open(method, path, body)
        assert status < 300, f"{method} {path}: {status} {content.decode()[:2000]}"
        return json.loads(content or b"null")

    def project(self, folder: Path) -> tuple[int, list[dict[str, Any]]]:
        """A project of config.xml and tasks.json; its id, and its tasks in the sequence of the file."""
        config = (folder / "config.xml").read_text(encoding="utf-8")
        project = self.call("POST", "/api/projects", {"title": folder.name, "label_config": config})["id"]
        tasks = json.loads((folder / "tasks.json").read_text(encoding="utf-8"))
        done = self.call("POST", f"/api/projects/{project}/import?return_task_ids=true", tasks)
        assert done["task_count"] == len(tasks)
        assert done["prediction_count"] == sum(len(task["predictions"]) for task in tasks)
        return project, [self.call("GET", f"/api/tasks/{task_id}") for task_id in done["task_ids"]]

    def annotate(self, task: dict[str, Any], results: list[dict[str, Any]], **more: object) -> None:
        """What the editor sends when a person submits."""
        self.call("POST", f"/api/tasks/{task['id']}/annotations", {"result": results, "lead_time": 12.5, **more})

    def export(self, project: int, kind: str, path: Path, *, everything: bool = False) -> Path:
        suffix = "&download_all_tasks=true" if everything else ""
        status, content = self.open("GET", f"/api/projects/{project}/export?exportType={kind}{suffix}")
        assert status == 200
        path.write_bytes(content)
        return path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on a free port of this machine alone, with its own SQLite and home."""
    home = tmp_path_factory.mktemp("label-studio")
    root = tmp_path_factory.mktemp("served")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("LABEL_STUDIO", "DJANGO", "PYTHON"))},
        "HOME": str(home),
        "XDG_DATA_HOME": str(home),
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(root),
        "COLLECT_ANALYTICS": "false",
        "LATEST_VERSION_CHECK": "false",
    }
    command = [EXECUTABLE, "start", "--init", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(port)]
    command += ["--data-dir", str(home / "data"), "--username", "ann@example.com", "--password", "not-a-secret"]
    command += ["--user-token", TOKEN, "--enable-legacy-api-token"]
    log = home / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment, cwd=home)
    try:
        client = Server(f"http://127.0.0.1:{port}", root)
        give_up_s = time.monotonic() + START_S
        while True:
            assert process.poll() is None, log.read_text(errors="replace")[-3000:]
            try:
                client.call("GET", "/health")
                break
            except (urllib.error.URLError, ConnectionError):
                assert time.monotonic() < give_up_s, log.read_text(errors="replace")[-3000:]
                time.sleep(1)
        yield client
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture
def gold(server: Server, tmp_path: Path, make_sound: MakeSound) -> Path:
    """A manifest with recordings, in a folder under the server's document root."""
    folder = server.root / tmp_path.name
    utterances = hard_utterances(folder)
    for number, utterance in enumerate(utterances):
        (folder / "audio").mkdir(parents=True, exist_ok=True)
        make_sound("sound.wav", 0.6, number).rename(folder / "audio" / f"{utterance.id}.wav")
    write_manifest(folder / "gold.jsonl", utterances)
    return folder / "gold.jsonl"


def write_project(gold: Path, *options: str) -> Path:
    folder = gold.parent / f"project-{len(list(gold.parent.iterdir()))}"
    assert main(["data", "to-label-studio", str(gold), "--output", str(folder), *options]) == 0
    return folder


def manifest_results(task: dict[str, Any]) -> list[dict[str, Any]]:
    """What a person who accepts the manifest's pre-annotation submits."""
    return next((p["result"] for p in task["predictions"] if p["model_version"] == "manifest"), [])


def test_a_config_that_is_wrong_is_refused(server: Server) -> None:
    """So that a project that can be made proves something."""
    config = '<View><Labels name="a" toName="nowhere"><Label value="b"/></Labels></View>'
    status, _ = server.open("POST", "/api/projects", {"title": "wrong", "label_config": config})
    assert status == 400


def test_accepted_as_it_is_every_manifest_comes_back_the_same(server: Server, gold: Path, tmp_path: Path) -> None:
    project, tasks = server.project(write_project(gold, "--schema", "conll04"))
    for task in tasks:
        server.annotate(task, manifest_results(task))
    export = server.export(project, "JSON", tmp_path / "export.json")
    back = gold.with_name("back.jsonl")
    assert main(["data", "from-label-studio", str(export), "--output", str(back), "--no-provenance"]) == 0
    assert back.read_bytes() == gold.read_bytes()
    assert main(["data", "from-label-studio", str(export), "--output", str(back)]) == 0
    extras = [utterance.extra["label_studio"] for utterance in read_manifest(back)]
    assert all(extra["annotation"]["lead_time"] == 12.5 for extra in extras)
    assert [extra["task"]["id"] for extra in extras] == [task["id"] for task in tasks]


def test_what_a_person_changes_is_what_comes_back(server: Server, gold: Path, tmp_path: Path) -> None:
    project, tasks = server.project(write_project(gold, "--schema", "conll04"))
    by_name = {task["data"]["speechre"]["utterance"]["id"]: task for task in tasks}
    # One entity gets another type, one is deleted with its relation, one is drawn, and linked from the wrong end.
    results = [r for r in manifest_results(by_name["plain"]) if r.get("id") != "e1" and r.get("to_id") != "e1"]
    next(r for r in results if r.get("id") == "e2")["value"]["labels"] = ["Other"]
    value = {"start": 8, "end": 13, "text": "lives", "labels": ["Loc"]}
    results.append({
        "id": "Xk3-hd9_aB", "from_name": "entities", "to_name": "text", "type": "labels", "origin": "manual",
        "value": value,
    })  # fmt: skip
    results.append({
        "type": "relation", "from_id": "Xk3-hd9_aB", "to_id": "e0", "direction": "left", "labels": ["Live_In"],
    })  # fmt: skip
    server.annotate(by_name["plain"], results)
    server.annotate(by_name["emoji"], [], was_cancelled=True)
    server.annotate(by_name["nothing"], [])
    export = server.export(project, "JSON", tmp_path / "export.json", everything=True)
    back = gold.with_name("back.jsonl")
    assert main(["data", "from-label-studio", str(export), "--output", str(back)]) == 0
    plain, nothing = read_manifest(back)
    assert [(e.id, e.text, e.type, e.start) for e in plain.entities] == [
        ("e0", "Ann Lee", "Peop", 0),
        ("e2", "Acme", "Other", 36),
        ("e3", "lives", "Loc", 8),
    ]
    assert [(t.head.text, t.relation, t.tail.text) for t in plain.triplets] == [
        ("Ann Lee", "Work_For", "Acme"),
        ("Ann Lee", "Live_In", "lives"),
    ]
    assert (plain.split, plain.speaker, plain.extra["source"]) == ("train", "s1", {"corpus": "own", "line": 7})
    assert plain.extra["label_studio"]["regions"]["e3"] == {"id": "Xk3-hd9_aB", "origin": "manual"}
    assert nothing.id == "nothing"


def test_json_min_comes_back_without_relations(
    server: Server, gold: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project, tasks = server.project(write_project(gold, "--schema", "conll04"))
    for task in tasks:
        server.annotate(task, manifest_results(task))
    export = server.export(project, "JSON_MIN", tmp_path / "min.json")
    back = gold.with_name("back.jsonl")
    arguments = ["data", "from-label-studio", str(export), "--output", str(back), "--no-provenance"]
    assert main(arguments) == 1
    assert "holds no relations" in capsys.readouterr().err
    assert main([*arguments, "--allow-missing-relations"]) == 0
    for before, after in zip(read_manifest(gold), read_manifest(back), strict=True):
        hidden = {"e1", "e2"} if before.id == "unplaced" else set()
        assert after.entities == before.entities
        assert [e.id for e in after.entities] == [e.id for e in before.entities]
        assert after.relations == tuple(r for r in before.relations if {r.head_id, r.tail_id} & hidden)


def test_predictions_of_a_model_are_taken_with_their_scores(server: Server, gold: Path, tmp_path: Path) -> None:
    def line(name: str, confidence: float) -> dict[str, Any]:
        head, tail = {"text": "ann lee", "type": "Peop"}, {"text": "OSLO", "type": "Loc"}
        triplet = {"head": head, "relation": "Live_In", "tail": tail, "confidence": confidence}
        return {"id": name, "model": "tiny@1", "triplets": [triplet], "relation_probabilities": {}}

    predictions = tmp_path / "predictions.jsonl"
    lines = [line("plain", 0.98), line("many", 0.5), line("unplaced", 0.8)]
    predictions.write_text("".join(json.dumps(one) + "\n" for one in lines))
    folder = write_project(gold, "--schema", "conll04", "--predictions", str(predictions))
    _, tasks = server.project(folder)
    assert [task["data"]["speechre"]["utterance"]["id"] for task in tasks][:3] == ["many", "unplaced", "plain"]
    by_model = [{p["model_version"]: p for p in task["predictions"]} for task in tasks[:3]]
    scores = [some["tiny@1"]["score"] for some in by_model]
    assert scores == sorted(scores)
    assert by_model[0]["tiny@1"]["result"][-1]["score"] == 0.5
    # The server stores what its own SDK would refuse, so ask that too.
    check = (
        "import json, sys; from label_studio_sdk.label_interface import LabelInterface as L\n"
        "l = L(open(sys.argv[1] + '/config.xml').read()); l.validate()\n"
        "for t in json.load(open(sys.argv[1] + '/tasks.json')):\n"
        "    for p in t['predictions']: print(json.dumps(l.validate_prediction(p, return_errors=True)))"
    )
    python = Path(EXECUTABLE).with_name("python")
    done = subprocess.run([python, "-c", check, folder], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {"[]"}
    assert len(done.stdout.split()) == sum(len(task["predictions"]) for task in tasks)


def test_what_a_recognizer_found_is_taken_and_accepted(server: Server, gold: Path, tmp_path: Path) -> None:
    plain = read_manifest(gold)[0]
    found = [{"text": e.text, "type": e.type, "start": e.start, "end": e.end, "score": 0.9} for e in plain.entities]
    ner = {"model": "spacy:en_core_web_sm@3.8.0", "schema": "conll04", "entities": found}
    write_manifest(gold, [replace(plain, entities=(), relations=(), extra={"ner": ner})])
    project, (task,) = server.project(write_project(gold, "--schema", "conll04"))
    (prediction,) = task["predictions"]
    assert prediction["model_version"] == ner["model"]
    server.annotate(task, prediction["result"])
    export = server.export(project, "JSON", tmp_path / "export.json")
    back = gold.with_name("back.jsonl")
    assert main(["data", "from-label-studio", str(export), "--output", str(back), "--no-provenance"]) == 0
    (accepted,) = read_manifest(back)
    assert (accepted.entities, accepted.extra) == (plain.entities, {"ner": ner})


def test_the_player_gets_the_recording(server: Server, gold: Path) -> None:
    for options in ((), ("--cut-audio",)):
        folder = write_project(gold, "--schema", "conll04", *options)
        project, tasks = server.project(folder)
        audio = folder / "audio" if options else gold.parent / "audio"
        if options:  # its document root is the folder above, not the server's
            url = tasks[0]["data"]["audio"].replace("?d=", f"?d={gold.parent.name}/")
        else:
            url = tasks[0]["data"]["audio"]
        assert server.open("GET", url)[0] == 404, "no storage yet"
        server.call("POST", "/api/storages/localfiles", {"project": project, "path": str(audio), "use_blob_urls": True})
        status, content = server.open("GET", url)
        assert status == 200
        assert content == sorted(audio.iterdir())[0 if options else 4].read_bytes()


def test_a_worklist_is_decided_and_merged(server: Server, gold: Path, tmp_path: Path) -> None:
    """Two annotators, one project each; what they disagree on is a third, and its answers go into the merge."""
    manifests = {}
    for name in ("ann", "ben"):
        project, tasks = server.project(write_project(gold, "--schema", "conll04"))
        for task in tasks:
            results = manifest_results(task)
            if name == "ben" and task["data"]["speechre"]["utterance"]["id"] == "plain":
                results = [r for r in results if r.get("labels") != ["Live_In"]]
            server.annotate(task, results)
        export = server.export(project, "JSON", tmp_path / f"{name}.json")
        manifests[name] = gold.with_name(f"{name}.jsonl")
        command = ["data", "from-label-studio", str(export), "--output", str(manifests[name]), "--no-provenance"]
        assert main(command) == 0
    worklist, merged = gold.with_name("worklist"), gold.with_name("merged.jsonl")
    compare = ["data", "agreement", *map(str, manifests.values()), "--merge", str(merged)]
    assert main([*compare, "--worklist", str(worklist), "--schema", "conll04"]) == 0
    project, (task,) = server.project(worklist)
    assert task["data"]["note"] == "Ann Lee Live_In Oslo: ann"
    assert [p["model_version"] for p in task["predictions"]] == ["majority", "ann", "ben"]
    server.annotate(task, next(p for p in task["predictions"] if p["model_version"] == "ann")["result"])
    export = server.export(project, "JSON", tmp_path / "decided.json")
    decided = gold.with_name("decided.jsonl")
    assert main(["data", "from-label-studio", str(export), "--output", str(decided), "--no-provenance"]) == 0
    assert main([*compare, "--decided", str(decided)]) == 0
    assert [(u.entities, set(u.relations)) for u in read_manifest(merged)] == [
        (u.entities, set(u.relations)) for u in read_manifest(gold)
    ]
