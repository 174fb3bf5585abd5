"""The OpenAI SDK for Python against a gateway. Arguments: base URL, token, `word` or `echo`.
Prints one JSON line per case: name, ok, detail."""

import json
import sys

import openai

base_url, token, kind = sys.argv[1:4]
client = openai.OpenAI(base_url=base_url, api_key=token, timeout=60, max_retries=0)
ASK = [{"role": "user", "content": "Please say quince"}]


def answered(text):
    if kind == "echo":
        assert "quince" in text and "dev/echo" in text, text
    else:
        assert text.strip() == "The word is quince today.", text


def list_models():
    ids = [model.id for model in client.models.list()]
    assert "openclaw" in ids and "openclaw/default" in ids and "openclaw/main" in ids, ids


def retrieve():
    model = client.models.retrieve("openclaw/default")
    assert model.id == "openclaw/default" and model.owned_by == "openclaw", model


def retrieve_unknown():
    try:
        client.models.retrieve("openclaw/nobody")
    except openai.NotFoundError:
        return
    raise AssertionError("no NotFoundError")


def chat():
    answer = client.chat.completions.create(model="openclaw", messages=ASK)
    choice = answer.choices[0]
    answered(choice.message.content)
    assert choice.finish_reason == "stop", choice
    assert answer.usage.total_tokens > 0, answer.usage


def chat_stream():
    chunks = list(
        client.chat.completions.create(
            model="openclaw", messages=ASK, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    answered(text)
    pieces = [chunk for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert len(pieces) > 1, f"{len(pieces)} piece(s): not streamed"
    reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert reasons[-1] == "stop", reasons
    assert chunks[-1].usage and chunks[-1].usage.total_tokens > 0, chunks[-1]


def chat_stream_helper():
    seen = []
    with client.chat.completions.stream(model="openclaw", messages=ASK) as stream:
        for event in stream:
            seen.append(event.type)
        final = stream.get_final_completion()
    answered(final.choices[0].message.content)
    assert "content.delta" in seen and "content.done" in seen, sorted(set(seen))


def wrong_token():
    other = openai.OpenAI(base_url=base_url, api_key="not-the-token", max_retries=0)
    try:
        other.models.list()
    except openai.AuthenticationError:
        return
    raise AssertionError("no AuthenticationError")


def bad_request():
    try:
        client.chat.completions.create(model="openclaw", messages=[])
    except openai.BadRequestError:
        return
    raise AssertionError("no BadRequestError")


def in_parallel():
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: chat(), range(16)))


for case in (list_models, retrieve, retrieve_unknown, chat, chat_stream, chat_stream_helper, wrong_token, bad_request, in_parallel):
    try:
        case()
        ok, detail = True, ""
    except Exception as err:
        ok, detail = False, f"{type(err).__name__}: {err}"
    print(json.dumps({"name": case.__name__.replace("_", " "), "ok": ok, "detail": detail}), flush=True)
