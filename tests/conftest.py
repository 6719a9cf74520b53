"""What the tests share: one thread, no state left from a training before, and the tiny base model as fixtures."""

import socket

import nltk
import pytest
import tiny
import torch

LONG = ["smoke", "airgapped", "families", "report", "own_data", "study", "checkpoints", "losses"]


def pytest_collection_modifyitems(items):
    """The files that take longest come first, so that the processes of `make test` end at about the same time."""
    items.sort(key=lambda item: (*LONG, name := item.path.stem.removeprefix("test_")).index(name))


@pytest.fixture(autouse=True)
def _alone():
    """Sums in one order, and no settings of an earlier Accelerator."""
    torch.set_num_threads(1)
    yield
    tiny.forget()


@pytest.fixture
def no_network(monkeypatch):
    """Any connection, and any of NLTK's downloads, fails the test."""

    def refuse(*_, **__):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(nltk, "download", refuse)


@pytest.fixture
def tiny_model():
    return tiny.model()


@pytest.fixture
def tiny_model_pad_is_eos():
    return tiny.model(pad_id=tiny.END_ID)


@pytest.fixture
def tiny_tokenizer():
    return tiny.tokenizer()


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory):
    """Folder of an imported base model: weights, tokenizer, card."""
    return tiny.base_folder(tmp_path_factory.mktemp("tiny"))
