"""The OpenAI SDK for Python against a gateway in front of tests/conformance/provider.py: every helper.
Arguments: base URL, token. Prints one JSON line per case: name, ok, detail."""

import base64
import json
import sys

import openai
from pydantic import BaseModel

base_url, token = sys.argv[1:3]
client = openai.OpenAI(base_url=base_url, api_key=token, timeout=90, max_retries=0)
ASK = [{"role": "user", "content": "hi"}]
SAID = "Hello from the fake model."
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CHAT_TOOL = {"type": "function", "function": {"name": "get_weather", "description": "weather", "parameters": WEATHER}}
TOOL = {"type": "function", "name": "get_weather", "description": "weather", "parameters": WEATHER, "strict": False}
CALL = 'CALLTOOL:get_weather {"city":"Paris"}'


class Fruit(BaseModel):
    name: str
    count: int


def equal(seen, wanted):
    assert seen == wanted, f"{seen!r} is not {wanted!r}"


def list_models():
    ids = [model.id for model in client.models.list()]
    equal(ids[:3], ["openclaw", "openclaw/default", "openclaw/main"])


def retrieve_a_model():
    equal(client.models.retrieve("openclaw/default").id, "openclaw/default")


def embeddings():
    answer = client.embeddings.create(model="openclaw", input=["a", "b"])
    equal([item.embedding for item in answer.data], [[0.25, -0.5, 0.125], [0.25, -0.5, 1.125]])


def embeddings_as_floats():
    answer = client.embeddings.create(model="openclaw", input="a", encoding_format="float", dimensions=3)
    equal(answer.data[0].embedding, [0.25, -0.5, 0.125])


def chat():
    answer = client.chat.completions.create(model="openclaw", messages=ASK)
    equal((answer.choices[0].message.content, answer.choices[0].finish_reason), (SAID, "stop"))


def chat_with_usage():
    equal(client.chat.completions.create(model="openclaw", messages=ASK).usage.total_tokens, 18)


def chat_with_raw_response():
    raw = client.chat.completions.with_raw_response.create(model="openclaw", messages=ASK)
    equal(raw.headers["content-type"], "application/json; charset=utf-8")
    equal(raw.parse().choices[0].message.content, SAID)


def chat_with_an_image():
    parts = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}]
    answer = client.chat.completions.create(model="openclaw", messages=[{"role": "user", "content": parts}])
    equal(answer.choices[0].message.content, SAID)


def chat_stream():
    stream = client.chat.completions.create(model="openclaw", messages=ASK, stream=True)
    equal("".join(chunk.choices[0].delta.content or "" for chunk in stream), SAID)


def chat_stream_helper():
    with client.chat.completions.stream(model="openclaw", messages=ASK) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    equal((final.choices[0].message.content, final.choices[0].finish_reason), (SAID, "stop"))
    assert {"chunk", "content.delta", "content.done"} <= kinds, kinds


def chat_parse():
    answer = client.chat.completions.parse(model="openclaw", messages=ASK, response_format=Fruit)
    equal(answer.choices[0].message.parsed, Fruit(name="fits", count=7))


def chat_stream_parse():
    with client.chat.completions.stream(model="openclaw", messages=ASK, response_format=Fruit) as stream:
        final = stream.get_final_completion()
    equal(final.choices[0].message.parsed, Fruit(name="fits", count=7))


def chat_tool_round_trip():
    talk = [{"role": "user", "content": CALL}]
    first = client.chat.completions.create(model="openclaw", messages=talk, tools=[CHAT_TOOL]).choices[0]
    equal(first.finish_reason, "tool_calls")
    call = first.message.tool_calls[0]
    equal((call.function.name, json.loads(call.function.arguments)), ("get_weather", {"city": "Paris"}))
    talk += [first.message, {"role": "tool", "tool_call_id": call.id, "content": "20C"}]
    second = client.chat.completions.create(model="openclaw", messages=talk, tools=[CHAT_TOOL])
    equal(second.choices[0].message.content, SAID)


def chat_tool_stream_helper():
    talk = [{"role": "user", "content": CALL}]
    with client.chat.completions.stream(model="openclaw", messages=talk, tools=[CHAT_TOOL]) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    equal(final.choices[0].message.tool_calls[0].function.name, "get_weather")
    assert "tool_calls.function.arguments.done" in kinds, kinds


def response():
    answer = client.responses.create(model="openclaw", input="hi")
    equal((answer.output_text, answer.status), (SAID, "completed"))


def response_of_short_messages():
    answer = client.responses.create(model="openclaw", input=[{"role": "user", "content": "hi"}])
    equal(answer.output_text, SAID)


def response_with_image_and_file():
    data = base64.b64encode(b"words of a file").decode()
    parts = [
        {"type": "input_text", "text": "see"},
        {"type": "input_image", "detail": "auto", "image_url": f"data:image/png;base64,{PNG}"},
        {"type": "input_file", "filename": "a.txt", "file_data": f"data:text/plain;base64,{data}"},
    ]
    answer = client.responses.create(model="openclaw", input=[{"role": "user", "content": parts}])
    equal(answer.output_text, SAID)


def response_stream():
    seen = list(client.responses.create(model="openclaw", input="hi", stream=True))
    equal("".join(event.delta for event in seen if event.type == "response.output_text.delta"), SAID)
    equal((seen[0].type, seen[-1].type), ("response.created", "response.completed"))


def response_stream_helper():
    with client.responses.stream(model="openclaw", input="hi") as stream:
        for _ in stream:
            pass
        equal(stream.get_final_response().output_text, SAID)


def response_parse():
    answer = client.responses.parse(model="openclaw", input="hi", text_format=Fruit)
    equal(answer.output_parsed, Fruit(name="fits", count=7))


def response_tool_round_trip():
    first = client.responses.create(model="openclaw", input=CALL, tools=[TOOL])
    call = next(item for item in first.output if item.type == "function_call")
    equal(json.loads(call.arguments), {"city": "Paris"})
    output = [{"type": "function_call_output", "call_id": call.call_id, "output": "20C"}]
    second = client.responses.create(model="openclaw", previous_response_id=first.id, input=output, tools=[TOOL])
    equal(second.output_text, SAID)


def response_tool_stream_helper():
    with client.responses.stream(model="openclaw", input=CALL, tools=[TOOL]) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_response()
    equal([item.name for item in final.output if item.type == "function_call"], ["get_weather"])
    assert "response.function_call_arguments.done" in kinds, kinds


def raises(kind, action):
    try:
        action()
    except kind as err:
        assert err.message, err
        return
    raise AssertionError(f"no {kind.__name__}")


def wrong_key():
    other = openai.OpenAI(base_url=base_url, api_key="not-the-token", max_retries=0)
    raises(openai.AuthenticationError, other.models.list)


def unknown_model():
    raises(openai.NotFoundError, lambda: client.models.retrieve("openclaw/nobody"))


def bad_request():
    raises(openai.BadRequestError, lambda: client.chat.completions.create(model="gpt-4o", messages=ASK))


def no_stored_response():
    raises(openai.NotFoundError, lambda: client.responses.retrieve("resp_x"))


def failure_in_a_stream():
    stream = client.chat.completions.create(model="openclaw", messages=[{"role": "user", "content": "FAIL400"}], stream=True)
    raises(openai.APIError, lambda: list(stream))


CASES = [
    list_models, retrieve_a_model, embeddings, embeddings_as_floats, chat, chat_with_usage, chat_with_raw_response,
    chat_with_an_image, chat_stream, chat_stream_helper, chat_parse, chat_stream_parse, chat_tool_round_trip,
    chat_tool_stream_helper, response, response_of_short_messages, response_with_image_and_file, response_stream,
    response_stream_helper, response_parse, response_tool_round_trip, response_tool_stream_helper, wrong_key,
    unknown_model, bad_request, no_stored_response, failure_in_a_stream,
]  # fmt: skip

for case in CASES:
    try:
        case()
        ok, detail = True, ""
    except Exception as err:
        ok, detail = False, f"{type(err).__name__}: {err}"
    print(json.dumps({"name": case.__name__.replace("_", " "), "ok": ok, "detail": detail}), flush=True)
