//! Reading a chat request. Fields the gateway knows must make sense, all
//! others are ignored, as clients send many.

use serde_json::{Map, Value};

use crate::agents::providers::ToolSpec;
use crate::agents::public_web::PublicWeb;
use crate::agents::run::Image;
use crate::gateway::http::openai::conversation::{self, Conversation};
use crate::gateway::http::openai::media::{self, MediaError};
use crate::gateway::http::prepared::ChatLimits;
use crate::gateway::http::reply::{self, Answer};

/// Part of the contract: a request without anything to answer.
const NO_MESSAGE: &str = "Missing user message in `messages`.";
/// Part of the contract: any image that is not taken.
const BAD_IMAGE: &str = "Invalid image_url content in `messages`.";
/// Stands in for the words of a message that is only images.
const IMAGES_ALONE: &str = "User sent image(s) with no text.";

/// Sampling fields with their bounds, handed to the model.
const NUMBERS: &[(&str, f64, f64)] = &[
    ("temperature", 0.0, 2.0),
    ("top_p", 0.0, 1.0),
    ("frequency_penalty", -2.0, 2.0),
    ("presence_penalty", -2.0, 2.0),
];

/// A chat request that makes sense.
#[derive(Debug)]
pub(super) struct ChatRequest {
    /// As the client wrote it; echoed in the answer.
    pub model: String,
    pub message: String,
    pub system: Option<String>,
    pub images: Vec<Image>,
    pub user: Option<String>,
    pub stream: bool,
    pub include_usage: bool,
    pub max_tokens: Option<u64>,
    pub params: Map<String, Value>,
    pub tools: Vec<ToolSpec>,
}

impl ChatRequest {
    pub(super) async fn parse(
        mut fields: Map<String, Value>,
        limits: &ChatLimits,
        web: &PublicWeb,
    ) -> Result<Self, Answer> {
        let Some(Value::Array(messages)) = fields.remove("messages") else {
            return Err(reply::invalid(NO_MESSAGE));
        };
        let mut talk = Conversation::default();
        let mut active: Option<&Value> = None;
        for message in &messages {
            let role = message["role"].as_str().unwrap_or_default();
            let content = &message["content"];
            match role {
                "user" => {
                    active = Some(content);
                    let text = conversation::text_of(content);
                    let text = if text.trim().is_empty() && image_parts(content).next().is_some() {
                        IMAGES_ALONE.to_owned()
                    } else {
                        text
                    };
                    talk.push("user", None, &text);
                }
                "assistant" => {
                    let text = conversation::text_of(content);
                    let text = if text.trim().is_empty() { called_tools(message) } else { text };
                    talk.push("assistant", None, &text);
                }
                "tool" | "function" => {
                    active = None;
                    let name = message["name"].as_str().map(str::to_owned);
                    let name = name.or_else(|| called_name(&messages, message));
                    talk.push("tool", name.as_deref(), &conversation::text_of(content));
                }
                other => talk.push(other, None, &conversation::text_of(content)),
            }
        }
        let message = talk.message().ok_or_else(|| reply::invalid(NO_MESSAGE))?;
        let images = match active {
            Some(content) => images(content, limits, web).await?,
            None => Vec::new(),
        };
        let tools = tools(&fields)?;
        let mut system = talk.system;
        let tools = choose(&fields, tools, &mut system)?;
        let text = |key: &str| fields.get(key).and_then(Value::as_str).map(str::to_owned);
        Ok(Self {
            model: text("model").unwrap_or_else(|| "openclaw".to_owned()),
            message,
            system: Some(system.join("\n\n")).filter(|text| !text.is_empty()),
            images,
            user: text("user"),
            stream: fields.get("stream").is_some_and(is_truthy),
            include_usage: fields
                .get("stream_options")
                .is_some_and(|options| options["include_usage"] == true),
            max_tokens: max_tokens(&fields)?,
            params: params(&fields)?,
            tools,
        })
    }
}

/// What JavaScript takes for true.
fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64().is_some_and(|number| number != 0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

fn image_parts(content: &Value) -> impl Iterator<Item = &Value> {
    let parts = content.as_array().map(Vec::as_slice).unwrap_or_default();
    parts.iter().filter(|part| part["type"] == "image_url")
}

async fn images(
    content: &Value,
    limits: &ChatLimits,
    web: &PublicWeb,
) -> Result<Vec<Image>, Answer> {
    let refused = |err: MediaError| {
        tracing::warn!(error = %err, "openai-compat: image refused");
        reply::invalid(BAD_IMAGE)
    };
    if image_parts(content).count() > limits.max_images {
        return Err(refused(MediaError::TooMany(limits.max_images)));
    }
    let mut images = Vec::new();
    let mut total = 0;
    for part in image_parts(content) {
        let address = part["image_url"].as_str().or_else(|| part["image_url"]["url"].as_str());
        let taken = media::image_at(web, address.unwrap_or_default(), &limits.images).await;
        let (image, size) = taken.map_err(refused)?;
        total += size;
        if total > limits.max_total_image_bytes {
            return Err(refused(MediaError::TooLarge(limits.max_total_image_bytes)));
        }
        images.push(image);
    }
    Ok(images)
}

/// What an assistant message that only calls tools did, in words.
fn called_tools(message: &Value) -> String {
    let calls = message["tool_calls"].as_array().map(Vec::as_slice).unwrap_or_default();
    let lines = calls.iter().filter_map(|call| {
        let function = &call["function"];
        let arguments = function["arguments"].as_str().filter(|text| *text != "{}")?;
        Some(format!("(called {} with {arguments})", function["name"].as_str()?))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The name of the tool whose call `result` answers.
fn called_name(messages: &[Value], result: &Value) -> Option<String> {
    let id = result["tool_call_id"].as_str()?;
    let calls = messages.iter().filter_map(|message| message["tool_calls"].as_array()).flatten();
    let call = calls.into_iter().find(|call| call["id"] == id)?;
    call["function"]["name"].as_str().map(str::to_owned)
}

fn tools(fields: &Map<String, Value>) -> Result<Vec<ToolSpec>, Answer> {
    let Some(Value::Array(list)) = fields.get("tools") else {
        return Ok(Vec::new());
    };
    let mut tools: Vec<ToolSpec> = Vec::with_capacity(list.len());
    for (index, tool) in list.iter().enumerate() {
        if tool["type"].as_str().is_some_and(|kind| kind != "function") {
            continue;
        }
        let function = &tool["function"];
        let name = function["name"].as_str().map(str::trim).unwrap_or_default();
        if name.is_empty() {
            let message = format!("`tools.{index}.function.name` must be a non-empty string.");
            return Err(reply::invalid(&message));
        }
        if tools.iter().any(|known| known.name == name) {
            return Err(reply::invalid(&format!("`tools.{index}.function.name` is a duplicate.")));
        }
        let parameters = &function["parameters"];
        tools.push(ToolSpec {
            name: name.to_owned(),
            description: function["description"].as_str().unwrap_or_default().to_owned(),
            parameters: if parameters.is_object() {
                parameters.clone()
            } else {
                serde_json::json!({"type": "object", "properties": {}})
            },
        });
    }
    Ok(tools)
}

/// Applies `tool_choice`: hides tools, or tells the model which it must call.
fn choose(
    fields: &Map<String, Value>,
    tools: Vec<ToolSpec>,
    system: &mut Vec<String>,
) -> Result<Vec<ToolSpec>, Answer> {
    let choice = fields.get("tool_choice").unwrap_or(&Value::Null);
    let wrong = || reply::invalid("invalid tool configuration");
    let named = choice["function"]["name"].as_str().or_else(|| choice["name"].as_str());
    match (choice.as_str(), named) {
        (Some("none"), _) => Ok(Vec::new()),
        (Some("required"), _) if tools.is_empty() => Err(wrong()),
        (Some("required"), _) => {
            let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
            system.push(format!(
                "Answer this turn by calling one of these tools first: {}.",
                names.join(", ")
            ));
            Ok(tools)
        }
        (_, Some(name)) => {
            if !tools.iter().any(|tool| tool.name == name) {
                return Err(wrong());
            }
            system.push(format!("Answer this turn by calling the tool {name} first."));
            Ok(tools)
        }
        _ => Ok(tools),
    }
}

fn max_tokens(fields: &Map<String, Value>) -> Result<Option<u64>, Answer> {
    for name in ["max_completion_tokens", "max_tokens"] {
        let Some(Value::Number(number)) = fields.get(name) else {
            continue;
        };
        let limit = number
            .as_u64()
            .filter(|limit| *limit > 0)
            .ok_or_else(|| reply::invalid(&format!("`{name}` must be a positive integer.")))?;
        return Ok(Some(limit));
    }
    Ok(None)
}

fn params(fields: &Map<String, Value>) -> Result<Map<String, Value>, Answer> {
    let mut params = Map::new();
    for (name, low, high) in NUMBERS {
        let Some(number) = fields.get(*name).and_then(Value::as_f64) else {
            continue;
        };
        if !(*low..=*high).contains(&number) {
            let message = format!("`{name}` must be between {low} and {high}.");
            return Err(reply::invalid(&message));
        }
        params.insert((*name).to_owned(), fields[*name].clone());
    }
    if let Some(seed) = fields.get("seed").filter(|seed| seed.is_i64() || seed.is_u64()) {
        params.insert("seed".to_owned(), seed.clone());
    }
    let is_text_list = |value: &Value| {
        value.is_string()
            || value.as_array().is_some_and(|all| {
                !all.is_empty() && all.len() <= 4 && all.iter().all(Value::is_string)
            })
    };
    if let Some(stop) = fields.get("stop").filter(|stop| is_text_list(stop)) {
        params.insert("stop".to_owned(), stop.clone());
    }
    if let Some(format) = fields.get("response_format").filter(|format| format.is_object()) {
        params.insert("response_format".to_owned(), format.clone());
    }
    Ok(params)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;
    use hyper::StatusCode;
    use serde_json::json;

    use super::*;
    use crate::gateway::http::prepared::{ImageLimits, Remote};

    fn limits() -> ChatLimits {
        ChatLimits {
            max_body: 1000,
            max_images: 1,
            max_total_image_bytes: 1000,
            images: ImageLimits {
                mimes: vec!["image/png".into()],
                max_bytes: 1000,
                remote: Remote {
                    allowed: false,
                    hosts: Vec::new(),
                    redirects: 0,
                    time: Duration::ZERO,
                },
            },
        }
    }

    fn parse(body: Value) -> Result<ChatRequest, Answer> {
        let Value::Object(fields) = body else { panic!("an object") };
        // Without anything to fetch it is done at once.
        ChatRequest::parse(fields, &limits(), &PublicWeb::default()).now_or_never().unwrap()
    }

    const PNG: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

    #[test]
    fn junk_in_fields_nobody_reads_is_ignored() {
        let chat = parse(json!({"messages":[{"role":"user","content":"hi"}], "foo":{}, "n":"x",
            "logprobs":7, "temperature":"warm", "stream":"yes", "model":5}))
        .unwrap();
        assert_eq!((chat.model.as_str(), chat.stream), ("openclaw", true));
        assert!(chat.params.is_empty());
    }

    #[test]
    fn a_request_with_nothing_to_answer_is_refused() {
        for body in [
            json!({}),
            json!({"messages":[]}),
            json!({"messages":"hi"}),
            json!({"messages":[{"role":"system","content":"x"}]}),
            json!({"messages":[{"role":"user","content":"  "}]}),
        ] {
            assert_eq!(parse(body).unwrap_err().status(), StatusCode::BAD_REQUEST);
        }
    }

    #[test]
    fn images_of_the_last_user_message_go_along_and_bad_ones_are_refused() {
        let image = |url: &str| json!({"type":"image_url","image_url":{"url":url}});
        let message = |parts: Value| json!({"messages":[{"role":"user","content":parts}]});
        let alone = parse(message(json!([image(PNG)]))).unwrap();
        assert_eq!((alone.message.as_str(), alone.images.len()), (IMAGES_ALONE, 1));
        for bad in [
            json!([image("https://e.example/a.png")]),
            json!([image("data:image/png,abc")]),
            json!([image(PNG), image(PNG)]),
        ] {
            assert!(parse(message(bad)).is_err());
        }
    }

    #[test]
    fn tools_and_their_choice_are_checked() {
        let tool = json!({"type":"function","function":{"name":"f"}});
        let with = |choice: Value| {
            parse(
                json!({"messages":[{"role":"user","content":"x"}],"tools":[tool],"tool_choice":choice}),
            )
        };
        assert_eq!(with(json!("auto")).unwrap().tools.len(), 1);
        assert_eq!(with(json!("none")).unwrap().tools.len(), 0);
        assert!(with(json!("required")).unwrap().system.unwrap().contains('f'));
        assert!(with(json!({"type":"function","function":{"name":"g"}})).is_err());
        let nameless = parse(
            json!({"messages":[{"role":"user","content":"x"}],"tools":[{"type":"function"}]}),
        );
        assert!(nameless.is_err());
    }

    #[test]
    fn sampling_out_of_bounds_is_named() {
        let body = json!({"messages":[{"role":"user","content":"x"}],"temperature":9});
        assert_eq!(parse(body).unwrap_err().status(), StatusCode::BAD_REQUEST);
        let body = json!({"messages":[{"role":"user","content":"x"}],"temperature":1,"stop":["a"],"max_tokens":5});
        let chat = parse(body).unwrap();
        assert_eq!((chat.max_tokens, chat.params.len()), (Some(5), 2));
    }
}
