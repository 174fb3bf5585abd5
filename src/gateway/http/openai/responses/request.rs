//! Reading a request for a response. Known fields must have their type; what
//! the SDKs send beyond that is ignored.

use serde_json::{Map, Value};

use crate::agents::providers::ToolSpec;
use crate::agents::public_web::PublicWeb;
use crate::agents::run::Image;
use crate::gateway::http::openai::conversation::{self, Conversation};
use crate::gateway::http::openai::media::{self, MediaError};
use crate::gateway::http::openai::pdf;
use crate::gateway::http::prepared::ResponsesLimits;
use crate::gateway::http::reply::{self, Answer};

const NO_MESSAGE: &str = "Missing user message in `input`.";
/// Part of the contract: any file or image that is not taken. The reason is
/// in the log.
const BAD_MEDIA: &str = "invalid request";
/// Stands for the text of a PDF that is only pictures. Part of the contract.
const SCANNED: &str = "[PDF content rendered to images]";
const BAD_TOOLS: &str = "invalid tool configuration";

/// A request that makes sense.
#[derive(Debug)]
pub(super) struct ResponsesRequest {
    pub model: String,
    pub message: String,
    pub system: Option<String>,
    pub images: Vec<Image>,
    pub user: Option<String>,
    pub previous: Option<String>,
    pub stream: bool,
    pub max_tokens: Option<u64>,
    pub params: Map<String, Value>,
    pub tools: Vec<ToolSpec>,
}

#[derive(Default)]
struct Gathered {
    talk: Conversation,
    files: Vec<String>,
    images: Vec<Image>,
    urls: usize,
}

impl ResponsesRequest {
    pub(super) async fn parse(
        body: Value,
        limits: &ResponsesLimits,
        web: &PublicWeb,
    ) -> Result<Self, Answer> {
        let Value::Object(fields) = body else {
            return Err(wrong("", "expected an object"));
        };
        let model = text(&fields, "model")?.ok_or_else(|| wrong("model", "expected a string"))?;
        check(&fields)?;
        let mut gathered = Gathered::default();
        match fields.get("input") {
            Some(Value::String(text)) => gathered.talk.push("user", None, text),
            Some(Value::Array(items)) => {
                for (at, item) in items.iter().enumerate() {
                    gathered.item(at, item, limits, web).await?;
                }
            }
            _ => return Err(wrong("input", "expected a string or an array of items")),
        }
        let message = gathered.talk.message().ok_or_else(|| reply::invalid(NO_MESSAGE))?;
        let instructions = text(&fields, "instructions")?;
        let mut system: Vec<String> = instructions.into_iter().collect();
        system.extend(gathered.talk.system);
        let tools = choose(&fields, tools(&fields)?, &mut system)?;
        system.extend(gathered.files);
        let mut params = Map::new();
        for name in ["temperature", "top_p"] {
            if let Some(number) = fields.get(name).filter(|value| value.is_number()) {
                params.insert(name.to_owned(), number.clone());
            }
        }
        if let Some(format) =
            fields.get("text").map(|text| &text["format"]).filter(|f| f.is_object())
        {
            params.insert("response_format".to_owned(), response_format(format));
        }
        Ok(Self {
            model,
            message,
            system: Some(system.join("\n\n")).filter(|text| !text.trim().is_empty()),
            images: gathered.images,
            user: text(&fields, "user")?,
            previous: text(&fields, "previous_response_id")?,
            stream: fields.get("stream").and_then(Value::as_bool).unwrap_or(false),
            max_tokens: fields.get("max_output_tokens").and_then(Value::as_u64),
            params,
            tools,
        })
    }
}

/// Types of the fields that have only one.
fn check(fields: &Map<String, Value>) -> Result<(), Answer> {
    let given = |name: &str| fields.get(name).filter(|value| !value.is_null());
    for name in ["stream", "store", "parallel_tool_calls"] {
        if given(name).is_some_and(|value| !value.is_boolean()) {
            return Err(wrong(name, "expected a boolean"));
        }
    }
    for name in ["max_output_tokens", "max_tool_calls"] {
        if given(name).is_some_and(|value| value.as_u64().is_none_or(|number| number == 0)) {
            return Err(wrong(name, "expected a positive integer"));
        }
    }
    for name in ["temperature", "top_p"] {
        if given(name).is_some_and(|value| !value.is_number()) {
            return Err(wrong(name, "expected a number"));
        }
    }
    if let Some(metadata) = given("metadata") {
        let Some(entries) = metadata.as_object() else {
            return Err(wrong("metadata", "expected an object of strings"));
        };
        if let Some((key, _)) = entries.iter().find(|(_, value)| !value.is_string()) {
            return Err(wrong(&format!("metadata.{key}"), "expected a string"));
        }
    }
    if given("tools").is_some_and(|value| !value.is_array()) {
        return Err(wrong("tools", "expected an array"));
    }
    Ok(())
}

fn wrong(path: &str, what: &str) -> Answer {
    reply::invalid(&format!("{path}: Invalid input: {what}"))
}

fn text(fields: &Map<String, Value>, name: &str) -> Result<Option<String>, Answer> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(wrong(name, "expected a string")),
    }
}

fn bad_media(error: &dyn std::fmt::Display) -> Answer {
    tracing::warn!(error = %error, "openresponses: input refused");
    reply::invalid(BAD_MEDIA)
}

impl Gathered {
    async fn item(
        &mut self,
        at: usize,
        item: &Value,
        limits: &ResponsesLimits,
        web: &PublicWeb,
    ) -> Result<(), Answer> {
        let place = format!("input.{at}");
        let kind = item["type"].as_str().or_else(|| item["role"].as_str().map(|_| "message"));
        match kind {
            Some("message") => {
                let role = item["role"].as_str().unwrap_or_default();
                if !["system", "developer", "user", "assistant"].contains(&role) {
                    return Err(wrong(&format!("{place}.role"), "unknown role"));
                }
                let content = &item["content"];
                if !content.is_string() && !content.is_array() {
                    let path = format!("{place}.content");
                    return Err(wrong(&path, "expected a string or an array of parts"));
                }
                if role == "user" {
                    // Images go with the message that is answered.
                    self.images.clear();
                    let parts = content.as_array().map(Vec::as_slice).unwrap_or_default();
                    for part in parts {
                        self.part(part, limits, web).await?;
                    }
                }
                self.talk.push(role, None, &conversation::text_of(content));
            }
            Some("function_call_output") => {
                let output = conversation::text_of(&item["output"]);
                self.talk.push("tool", item["call_id"].as_str(), &output);
            }
            Some("function_call" | "reasoning" | "item_reference") => {}
            Some(other) => {
                return Err(wrong(&format!("{place}.type"), &format!("unknown item `{other}`")));
            }
            None => return Err(wrong(&place, "expected an item with a type or a role")),
        }
        Ok(())
    }

    async fn part(
        &mut self,
        part: &Value,
        limits: &ResponsesLimits,
        web: &PublicWeb,
    ) -> Result<(), Answer> {
        match part["type"].as_str() {
            Some("input_image") => self.image(part, limits, web).await,
            Some("input_file") => self.file(part, limits, web).await,
            _ => Ok(()),
        }
    }

    /// Counts an address among the parts of a request.
    fn count_url(&mut self, limits: &ResponsesLimits) -> Result<(), Answer> {
        self.urls += 1;
        if self.urls > limits.max_url_parts {
            return Err(bad_media(&format!("more than {} remote parts", limits.max_url_parts)));
        }
        Ok(())
    }

    async fn image(
        &mut self,
        part: &Value,
        limits: &ResponsesLimits,
        web: &PublicWeb,
    ) -> Result<(), Answer> {
        let source = &part["source"];
        let image = if source["type"] == "base64" {
            media::image(text_in(source, "media_type"), text_in(source, "data"), &limits.images)
        } else {
            let address = part["image_url"].as_str().or_else(|| source["url"].as_str());
            let address = address.unwrap_or_default();
            if media::data_uri(address) == Err(MediaError::Remote) {
                self.count_url(limits)?;
            }
            media::image_at(web, address, &limits.images).await
        };
        let (image, _) = image.map_err(|err| bad_media(&err))?;
        self.images.push(image);
        Ok(())
    }

    async fn file(
        &mut self,
        part: &Value,
        limits: &ResponsesLimits,
        web: &PublicWeb,
    ) -> Result<(), Answer> {
        let source = &part["source"];
        let address = part["file_url"].as_str().or_else(|| source["url"].as_str());
        let name = part["filename"].as_str().or_else(|| source["filename"].as_str());
        let last = address.and_then(|url| url.split(['?', '#']).next()?.rsplit('/').next());
        let name = name.or(last.filter(|name| !name.is_empty())).unwrap_or("file");
        let name = name.replace(['"', '<', '>', '\n', '\r'], "_");
        let decoded = |data: &str| media::decode(data).map_err(|err| bad_media(&err));
        let (mime, bytes) = if source["type"] == "base64" {
            (text_in(source, "media_type").to_owned(), decoded(text_in(source, "data"))?)
        } else if let Some(inline) = part["file_data"].as_str() {
            let (mime, data) = media::data_uri(inline).map_err(|err| bad_media(&err))?;
            (mime.to_owned(), decoded(data)?)
        } else {
            self.count_url(limits)?;
            let address = address.unwrap_or_default();
            let fetched = media::fetch(web, address, &limits.remote_files, limits.max_file_bytes);
            fetched.await.map_err(|err| bad_media(&err))?
        };
        let mime = mime.split(';').next().unwrap_or_default().trim().to_lowercase();
        if !limits.file_mimes.contains(&mime) {
            return Err(bad_media(&MediaError::Type(mime)));
        }
        if bytes.len() > limits.max_file_bytes {
            return Err(bad_media(&MediaError::TooLarge(limits.max_file_bytes)));
        }
        let text = if mime == "application/pdf" {
            let read = pdf::read(bytes, limits.pdf, limits.images.clone()).await;
            let pdf::Content { text, scans } = read.map_err(|err| bad_media(&err))?;
            self.images.extend(scans);
            if text.is_empty() { SCANNED.to_owned() } else { text }
        } else {
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let text: String = text.chars().take(limits.max_file_chars).collect();
        self.files.push(format!("<file name=\"{name}\">\n{text}\n</file>"));
        Ok(())
    }
}

fn text_in<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

fn tools(fields: &Map<String, Value>) -> Result<Vec<ToolSpec>, Answer> {
    let Some(Value::Array(list)) = fields.get("tools") else {
        return Ok(Vec::new());
    };
    let mut tools: Vec<ToolSpec> = Vec::with_capacity(list.len());
    for (at, tool) in list.iter().enumerate() {
        if tool["type"] != "function" {
            let what = "only tools of type `function` are supported";
            return Err(wrong(&format!("tools.{at}.type"), what));
        }
        let function = if tool["function"].is_object() { &tool["function"] } else { tool };
        let name = function["name"].as_str().unwrap_or_default();
        if name.trim().is_empty() {
            return Err(wrong(&format!("tools.{at}.name"), "expected a non-empty string"));
        }
        if tools.iter().any(|known| known.name == name) {
            return Err(reply::invalid(BAD_TOOLS));
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

/// Applies `tool_choice` in either spelling.
fn choose(
    fields: &Map<String, Value>,
    tools: Vec<ToolSpec>,
    system: &mut Vec<String>,
) -> Result<Vec<ToolSpec>, Answer> {
    let choice = fields.get("tool_choice").unwrap_or(&Value::Null);
    let named = choice["function"]["name"].as_str().or_else(|| choice["name"].as_str());
    match (choice, named) {
        (Value::Null, _) => Ok(tools),
        (Value::String(choice), _) => match choice.as_str() {
            "auto" => Ok(tools),
            "none" => Ok(Vec::new()),
            "required" if tools.is_empty() => Err(reply::invalid(BAD_TOOLS)),
            "required" => {
                let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
                let names = names.join(", ");
                system.push(format!(
                    "Answer this turn by calling one of these tools first: {names}."
                ));
                Ok(tools)
            }
            _ => Err(wrong("tool_choice", "expected auto, none, required or a function")),
        },
        (_, Some(name)) if tools.iter().any(|tool| tool.name == name) => {
            system.push(format!("Answer this turn by calling the tool {name} first."));
            Ok(tools)
        }
        (_, Some(_)) => Err(reply::invalid(BAD_TOOLS)),
        _ => Err(wrong("tool_choice", "expected auto, none, required or a function")),
    }
}

/// The flat `text.format` in the nested spelling of chat completions.
fn response_format(format: &Value) -> Value {
    if format["type"] != "json_schema" || format["json_schema"].is_object() {
        return format.clone();
    }
    let mut schema = format.clone();
    if let Some(fields) = schema.as_object_mut() {
        fields.shift_remove("type");
    }
    serde_json::json!({"type": "json_schema", "json_schema": schema})
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;
    use serde_json::json;

    use super::*;
    use crate::gateway::http::prepared::{ImageLimits, PdfLimits, Remote};

    fn limits() -> ResponsesLimits {
        let remote =
            Remote { allowed: true, hosts: Vec::new(), redirects: 0, time: Duration::ZERO };
        ResponsesLimits {
            max_body: 1000,
            max_url_parts: 8,
            images: ImageLimits {
                mimes: vec!["image/png".into()],
                max_bytes: 1000,
                remote: remote.clone(),
            },
            remote_files: remote,
            max_file_bytes: 100,
            max_file_chars: 5,
            file_mimes: vec!["text/plain".into()],
            pdf: PdfLimits { max_pages: 1, min_text_chars: 1 },
        }
    }

    fn parse(body: Value) -> Result<ResponsesRequest, Answer> {
        // Without anything to fetch it is done at once.
        ResponsesRequest::parse(body, &limits(), &PublicWeb::default()).now_or_never().unwrap()
    }

    #[test]
    fn every_form_of_input_that_sdks_send_is_taken() {
        for input in [
            json!("hi"),
            json!([{"role":"user","content":"hi"}]),
            json!([{"type":"message","role":"user","content":[{"type":"input_text","text":"hi"}]}]),
        ] {
            let asked = parse(json!({"model":"openclaw","input":input,"include":[],"text":{},
                "parallel_tool_calls":true,"reasoning":{"effort":"minimal"}}))
            .unwrap();
            assert_eq!(asked.message, "hi");
        }
    }

    #[test]
    fn wrong_types_are_named_by_their_path() {
        for body in [
            json!([]),
            json!({"input":"x"}),
            json!({"model":"openclaw"}),
            json!({"model":"openclaw","input":5}),
            json!({"model":"openclaw","input":""}),
            json!({"model":"openclaw","input":[]}),
            json!({"model":"openclaw","input":"x","max_output_tokens":0}),
            json!({"model":"openclaw","input":"x","stream":"yes"}),
            json!({"model":"openclaw","input":"x","metadata":{"a":1}}),
            json!({"model":"openclaw","input":[{"type":"video"}]}),
            json!({"model":"openclaw","input":"x","tools":[{"type":"web_search"}]}),
            json!({"model":"openclaw","input":"x","tools":[{"type":"function","name":""}]}),
            json!({"model":"openclaw","input":"x","tool_choice":"required"}),
        ] {
            assert!(parse(body.clone()).is_err(), "{body}");
        }
    }

    #[test]
    fn files_become_part_of_the_system_prompt() {
        let part = |mime: &str| {
            json!({"type":"input_file","source":{"type":"base64",
            "media_type":mime,"data":"aGVsbG8gd29ybGQ=","filename":"hello.txt"}})
        };
        let ask = |mime: &str| {
            parse(json!({"model":"openclaw","instructions":"be kind","input":[
                {"role":"user","content":[{"type":"input_text","text":"read"}, part(mime)]}]}))
        };
        let asked = ask("text/plain").unwrap();
        assert_eq!(asked.system.unwrap(), "be kind\n\n<file name=\"hello.txt\">\nhello\n</file>");
        assert!(ask("application/zip").is_err());
    }

    #[test]
    fn tools_are_taken_flat_and_nested() {
        for tool in [
            json!({"type":"function","name":"f"}),
            json!({"type":"function","function":{"name":"f"}}),
        ] {
            let choice = json!({"type":"function","name":"f"});
            let asked =
                parse(json!({"model":"openclaw","input":"x","tools":[tool],"tool_choice":choice}));
            assert_eq!(asked.unwrap().tools[0].name, "f");
        }
    }
}
