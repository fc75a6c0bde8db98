"""Downloads, from a server on this machine."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gloss_tune.data import DatasetInfo, fetch, load_dataset, loading, locate
from gloss_tune.data.registry import DATASETS, UpstreamFile
from gloss_tune.errors import DataError

# As upstream has them: an index column without a name, numbers for labels, line ends left on the texts.
UPSTREAM = {
    "train": b',text,label\n7,"first, in train\n",0\n2,second in train ,1\n',
    "val": b',text,label\n3," in val\n",1\n',
    "test": b",text,label\n0,in test,0\n",
}
# The same content as a --data-dir has it.
NAMED = {
    "train": [("second in train", "sweet"), ("first, in train", "sour")],
    "val": [("in val", "sweet")],
    "test": [("in test", "sour")],
}


@pytest.fixture
def server():
    """Serves what is in ``content`` by path and counts what was asked for."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            body = content.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_):
            pass

    content, asked = {f"/{split}.csv": body for split, body in UPSTREAM.items()}, []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        httpd.content, httpd.asked, httpd.url = content, asked, f"http://127.0.0.1:{httpd.server_port}"
        yield httpd
        httpd.shutdown()
        thread.join()


@pytest.fixture
def info(server, monkeypatch):
    files = tuple(
        UpstreamFile(
            split, f"{server.url}/{split}.csv", hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
        )
        for split, body in UPSTREAM.items()
    )
    info = DatasetInfo("fruit", "for tests", ("sour", "sweet"), (2, 1, 1), None, files)
    monkeypatch.setattr(loading, "DATASETS", {"fruit": info})
    return info


def test_a_download_is_the_same_data_set_as_the_data_dir(info, tmp_path, write_table, own_cache):
    for split, rows in NAMED.items():
        write_table(tmp_path / "data" / "fruit" / f"{split}.csv", rows)
    given, downloaded = load_dataset("fruit", data_dir=tmp_path / "data"), load_dataset("fruit")
    assert downloaded.fingerprint == given.fingerprint
    assert (downloaded.classes, downloaded.train.texts) == (given.classes, given.train.texts)
    assert downloaded.train.labels.tolist() == given.train.labels.tolist()
    assert downloaded.source == str(own_cache / "datasets" / "fruit")


def test_it_is_downloaded_once(info, server, own_cache):
    assert locate(info) is None
    folder = fetch(info)
    assert locate(info) == folder == own_cache / "datasets" / "fruit"
    assert sorted(path.name for path in folder.iterdir()) == ["test.csv", "train.csv", "val.csv"]
    load_dataset("fruit")
    load_dataset("fruit", download=False)
    assert sorted(server.asked) == ["/test.csv", "/train.csv", "/val.csv"]


def test_the_data_dir_comes_first(info, server, tmp_path, write_table):
    for split, rows in NAMED.items():
        write_table(tmp_path / "fruit" / f"{split}.csv", rows)
    assert locate(info, tmp_path) == tmp_path / "fruit"
    load_dataset("fruit", data_dir=tmp_path)
    assert server.asked == []


def test_a_damaged_file_in_the_cache_is_downloaded_again(info, server):
    folder = fetch(info)
    (folder / "val.csv").write_bytes(UPSTREAM["val"][:-3])
    assert locate(info) is None
    assert len(load_dataset("fruit").val) == 1
    assert server.asked.count("/val.csv") == 2
    assert server.asked.count("/train.csv") == 1


def test_another_file_than_the_published_one_is_refused_and_not_kept(info, server, own_cache):
    server.content["/train.csv"] = UPSTREAM["train"].replace(b"first", b"worst")
    with pytest.raises(DataError, match=r"train.csv is not the published file: .*--data-dir"):
        load_dataset("fruit")
    assert not [path for path in own_cache.rglob("*") if path.is_file()]


def test_a_file_that_the_server_lacks(info, server, own_cache):
    del server.content["/val.csv"]
    with pytest.raises(DataError, match=r"'fruit' is not on this machine .*val.csv .*404.*'stdlib'"):
        load_dataset("fruit")
    assert [path.name for path in own_cache.rglob("*") if path.is_file()] == ["train.csv"]


def test_no_network(info, server):
    server.shutdown()
    server.server_close()
    with pytest.raises(DataError, match="could not be downloaded"):
        load_dataset("fruit")


def test_blob_ids_are_those_of_git(server):
    """Checked against an id that git itself gives: ``printf 'hello\\n' | git hash-object --stdin``."""
    server.content["/hello.csv"] = b"hello\n"
    file = UpstreamFile("train", f"{server.url}/hello.csv", "ce013625030ba8dba906f756967f9e9ca394464a")
    assert (
        fetch(DatasetInfo("hello", "for tests", files=(file,))).joinpath("train.csv").read_bytes()
        == b"hello\n"
    )


def test_the_registry_is_complete():
    assert list(DATASETS) == ["mr", "r8", "r52", "ohsumed", "20ng", "stdlib"]
    assert [len(info.classes) for info in DATASETS.values()] == [2, 8, 52, 23, 20, 0]
    urls = set()
    for info in list(DATASETS.values())[:-1]:
        assert info.classes == tuple(sorted(set(info.classes)))  # upstream numbers are places in this order
        assert [file.split for file in info.files] == ["train", "val", "test"]
        urls |= {file.url for file in info.files}
        assert all(len(file.blob) == 40 for file in info.files)
    assert len(urls) == 15
    assert DATASETS["stdlib"].files == ()
