//! `models scan`: the free models of `OpenRouter`, which of them call tools and
//! see images, and a list of fallbacks made of the best.

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::agents::models::{Lookup, catalog};
use crate::agents::providers::http::Http;
use crate::agents::public_web;
use crate::base::cause::innermost;
use crate::base::secret::Secret;
use crate::cli::args::models::ScanArgs;
use crate::cli::commands::config;
use crate::cli::context::Context;
use crate::cli::ui::page::Page;
use crate::cli::ui::{CommandResult, Failure, Outcome};

const PROVIDER: &str = "openrouter";
const MOST_BYTES: usize = 32 * 1024 * 1024;
const CATALOGUE_LIMIT: Duration = Duration::from_secs(30);

/// The smallest picture there is.
const DOT: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";

/// What was typed, as numbers.
struct Wanted {
    min_params: f64,
    max_age_days: f64,
    candidates: usize,
    timeout: Duration,
    at_once: usize,
}

fn fail(text: impl std::fmt::Display) -> Failure {
    Failure::new(format!("Error: {text}"))
}

impl Wanted {
    fn read(args: &ScanArgs) -> Result<Self, Failure> {
        let number = |option: &str, typed: Option<&str>, least: &str| -> Result<f64, Failure> {
            let Some(typed) = typed else { return Ok(0.0) };
            let number: f64 = typed.trim().parse().unwrap_or(f64::NAN);
            let good = if least == ">= 0" { number >= 0.0 } else { number > 0.0 };
            if good && number.is_finite() {
                Ok(number)
            } else {
                Err(fail(format!("{option} must be {least}")))
            }
        };
        let whole = |option: &str, typed: &str| -> Result<u32, Failure> {
            number(option, Some(typed), "> 0")?;
            let most = typed.trim().split('.').next().and_then(|digits| digits.parse().ok());
            Ok(most.unwrap_or(1).max(1))
        };
        Ok(Self {
            min_params: number("--min-params", args.min_params.as_deref(), ">= 0")?,
            max_age_days: number("--max-age-days", args.max_age_days.as_deref(), ">= 0")?,
            candidates: whole("--max-candidates", &args.max_candidates)? as usize,
            timeout: Duration::from_millis(whole("--timeout", &args.timeout)?.into()),
            at_once: whole("--concurrency", &args.concurrency)? as usize,
        })
    }
}

pub(super) fn run(context: &Context, lookup: &Lookup<'_>, args: &ScanArgs) -> CommandResult {
    let wanted = Wanted::read(args)?;
    let (base, key) = access(lookup);
    if !args.no_probe && key.is_none() {
        return Err(fail("Missing OpenRouter API key. Set OPENROUTER_API_KEY to run models scan."));
    }
    let may_go_on = args.yes || args.no_input || args.json || context.ui.interactive();
    if !args.no_probe && !may_go_on {
        return Err(fail("Non-interactive scan: pass --yes to apply defaults."));
    }
    let mut results = context.block_on(async {
        let catalogue = tokio::time::timeout(CATALOGUE_LIMIT, fetch(&base)).await;
        let catalogue = catalogue.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        let catalogue =
            catalogue.map_err(|why| fail(format!("OpenRouter /models failed: {why}")))?;
        let now = lookup.now;
        let free: Vec<Value> = catalogue
            .iter()
            .filter_map(described)
            .filter(|model| is_wanted(model, args.provider.as_deref(), &wanted, now))
            .collect();
        Ok(match &key {
            Some(key) if !args.no_probe => {
                let probes = free.into_iter().map(|model| probe(model, &base, key, wanted.timeout));
                futures_util::stream::iter(probes).buffered(wanted.at_once).collect().await
            }
            _ => free.into_iter().map(untried).collect::<Vec<Value>>(),
        })
    })?;
    results.sort_by(better);
    if args.no_probe {
        if args.json {
            return Ok(Outcome::json(&results));
        }
        let count = results.len();
        return Ok(Outcome::text(format!(
            "Found {count} OpenRouter free models (metadata only; without --no-probe tools and \
             images are tried).\n{}",
            table(&results)
        )));
    }
    choose(context, args, &wanted, &results)
}

/// Address and key of the provider, as configured.
fn access(lookup: &Lookup<'_>) -> (String, Option<Secret>) {
    if let Ok(found) = lookup.resolve(&format!("{PROVIDER}/{PROVIDER}/auto")) {
        return (found.model.base_url.clone(), found.model.api_key.clone());
    }
    let configured = lookup.config.models.providers.get(PROVIDER);
    let configured = configured.map(|provider| provider.base_url.clone());
    let configured = configured.filter(|url| !url.is_empty());
    let vendor = catalog::vendor_of(PROVIDER).map(|vendor| vendor.base_url.to_owned());
    (configured.or(vendor).unwrap_or_default(), None)
}

async fn fetch(base: &str) -> Result<Vec<Value>, String> {
    let url = format!("{}/models", base.trim_end_matches('/'));
    let client = Http::default().client(&url).map_err(|err| err.to_string())?;
    let answer = client.get(&url).send().await.map_err(|err| innermost(&err))?;
    let status = answer.status();
    if !status.is_success() {
        return Err(format!("HTTP {}", status.as_u16()));
    }
    let (bytes, _) = public_web::read(answer, MOST_BYTES).await?;
    let document: Value = serde_json::from_slice(&bytes).map_err(|err| err.to_string())?;
    Ok(document["data"].as_array().cloned().unwrap_or_default())
}

/// An entry of the catalogue in the shape of a result.
fn described(entry: &Value) -> Option<Value> {
    let text = |key: &str| entry[key].as_str().map(str::trim).filter(|text| !text.is_empty());
    let id = text("id")?;
    let name = text("name").unwrap_or(id);
    let number = |key: &str| Some(entry[key].clone()).filter(Value::is_number);
    let parameters: Vec<&str> = entry["supported_parameters"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let modality = text("modality").or_else(|| entry["architecture"]["modality"].as_str());
    let created = entry["created_at"].as_f64().or_else(|| entry["created"].as_f64());
    let price = |key: &str| {
        let price = &entry["pricing"][key];
        price.as_f64().or_else(|| price.as_str()?.trim().parse().ok())
    };
    let pricing = match (price("prompt"), price("completion")) {
        (Some(prompt), Some(completion)) => json!({ "prompt": prompt, "completion": completion,
            "request": price("request").unwrap_or(0.0), "image": price("image").unwrap_or(0.0),
            "webSearch": price("web_search").unwrap_or(0.0),
            "internalReasoning": price("internal_reasoning").unwrap_or(0.0) }),
        _ => Value::Null,
    };
    let free =
        id.ends_with(":free") || (price("prompt") == Some(0.0) && price("completion") == Some(0.0));
    Some(json!({
        "id": id,
        "name": name,
        "provider": PROVIDER,
        "modelRef": format!("{PROVIDER}/{id}"),
        "contextLength": number("context_length"),
        "maxCompletionTokens":
            number("max_completion_tokens").or_else(|| number("max_output_tokens")),
        "supportedParametersCount": parameters.len(),
        "supportsToolsMeta": parameters.contains(&"tools"),
        "modality": modality,
        "inferredParamB": size(&format!("{id} {name}")),
        // Seconds in newer catalogues, milliseconds in older ones.
        "createdAtMs": created.map(|at| if at > 1e12 { at } else { at * 1000.0 }),
        "pricing": pricing,
        "isFree": free,
    }))
}

/// Billions of parameters, as a name tells: the largest `70b` in it.
fn size(text: &str) -> Option<f64> {
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.'));
    let sizes = words.filter_map(|word| word.strip_suffix('b')?.parse::<f64>().ok());
    sizes.filter(|size| *size > 0.0).reduce(f64::max)
}

fn is_wanted(model: &Value, vendor: Option<&str>, wanted: &Wanted, now: u64) -> bool {
    const DAY: f64 = 24.0 * 60.0 * 60.0 * 1000.0;
    let of = model["id"].as_str().and_then(|id| id.split('/').next()).unwrap_or_default();
    let age = model["createdAtMs"].as_f64().map(|at| (u64_as_f64(now) - at) / DAY);
    model["isFree"] == true
        && vendor.is_none_or(|vendor| vendor.trim().eq_ignore_ascii_case(of))
        && (wanted.min_params <= 0.0
            || model["inferredParamB"].as_f64().unwrap_or(0.0) >= wanted.min_params)
        && (wanted.max_age_days <= 0.0 || age.is_none_or(|age| age <= wanted.max_age_days))
}

#[expect(clippy::cast_precision_loss, reason = "times are far below 2^53")]
fn u64_as_f64(number: u64) -> f64 {
    number as f64
}

fn untried(mut model: Value) -> Value {
    let skipped = json!({ "ok": false, "latencyMs": null, "skipped": true });
    model["tool"] = skipped.clone();
    model["image"] = skipped;
    model
}

/// Asks a model for a tool call, and to look at a picture if it says it can.
async fn probe(mut model: Value, base: &str, key: &Secret, limit: Duration) -> Value {
    let id = model["id"].clone();
    let tool = json!({
        "model": id, "max_tokens": 256, "temperature": 0, "tool_choice": "required",
        "messages": [{ "role": "user", "content": "Call the tool ping. Say nothing else." }],
        "tools": [{ "type": "function", "function": { "name": "ping",
            "description": "Answers pong", "parameters": { "type": "object", "properties": {} } } }],
    });
    let called = |answer: &Value| {
        let calls = &answer["choices"][0]["message"]["tool_calls"];
        let some = calls.as_array().is_some_and(|calls| !calls.is_empty());
        if some { Ok(()) } else { Err("No tool call returned".to_owned()) }
    };
    model["tool"] = ask(base, key, &tool, limit, called).await;
    let sees = model["modality"].as_str().is_some_and(|modality| modality.contains("image"));
    model["image"] = if sees {
        let picture = json!({
            "model": id, "max_tokens": 16, "temperature": 0,
            "messages": [{ "role": "user", "content": [
                { "type": "text", "text": "Say OK." },
                { "type": "image_url", "image_url": { "url": DOT } },
            ] }],
        });
        ask(base, key, &picture, limit, |_| Ok(())).await
    } else {
        json!({ "ok": false, "latencyMs": null, "skipped": true })
    };
    model
}

async fn ask(
    base: &str,
    key: &Secret,
    body: &Value,
    limit: Duration,
    judge: impl Fn(&Value) -> Result<(), String>,
) -> Value {
    let began = Instant::now();
    let asked = tokio::time::timeout(limit, post(base, key, body)).await;
    let verdict = asked.unwrap_or_else(|_| Err("timeout".to_owned())).and_then(|it| judge(&it));
    let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    match verdict {
        Ok(()) => json!({ "ok": true, "latencyMs": took }),
        Err(why) => json!({ "ok": false, "latencyMs": took, "error": why }),
    }
}

async fn post(base: &str, key: &Secret, body: &Value) -> Result<Value, String> {
    let url = format!("{}/chat/completions", base.trim_end_matches('/'));
    let client = Http::default().client(&url).map_err(|err| err.to_string())?;
    let request = client.post(&url).bearer_auth(key.expose()).json(body);
    let answer = request.send().await.map_err(|err| innermost(&err))?;
    let status = answer.status();
    let (bytes, _) = public_web::read(answer, MOST_BYTES).await?;
    let document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    if status.is_success() && document["error"].is_null() {
        return Ok(document);
    }
    let said = document["error"]["message"].as_str().unwrap_or("no reason given");
    Err(format!("{} {said}", status.as_u16()))
}

/// Models that see come first, then those that are quick, then those with the
/// larger window.
fn better(a: &Value, b: &Value) -> Ordering {
    let sees = |model: &Value| model["image"]["ok"] == true;
    let late = |model: &Value| model["tool"]["latencyMs"].as_u64().unwrap_or(u64::MAX);
    let window = |model: &Value| model["contextLength"].as_u64().unwrap_or(0);
    sees(b)
        .cmp(&sees(a))
        .then(late(a).cmp(&late(b)))
        .then(window(b).cmp(&window(a)))
        .then_with(|| a["modelRef"].as_str().cmp(&b["modelRef"].as_str()))
}

fn table(results: &[Value]) -> String {
    let mut page = Page::default();
    let columns = |cells: [&str; 6]| {
        let widths = [42, 10, 10, 8, 8, 0];
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join(" ").trim_end().to_owned()
    };
    page.line(columns(["Model", "Tool", "Image", "Ctx", "Params", "Notes"]));
    for model in results {
        let verdict = |key: &str| match &model[key] {
            it if it["ok"] == true => format!("{}ms", it["latencyMs"]),
            it if it["skipped"] == true => "skip".to_owned(),
            _ => "fail".to_owned(),
        };
        let window = model["contextLength"].as_u64().map(|tokens| format!("{}k", tokens / 1024));
        let size = model["inferredParamB"].as_f64().map(|size| format!("{size}b"));
        let notes = model["modality"].as_str().map(|modality| format!("modality:{modality}"));
        page.line(columns([
            model["modelRef"].as_str().unwrap_or_default(),
            &verdict("tool"),
            &verdict("image"),
            window.as_deref().unwrap_or("-"),
            size.as_deref().unwrap_or("-"),
            notes.as_deref().unwrap_or_default(),
        ]));
    }
    page.into()
}

/// Makes the best of them the fallbacks.
fn choose(context: &Context, args: &ScanArgs, wanted: &Wanted, results: &[Value]) -> CommandResult {
    let name = |model: &Value| model["modelRef"].as_str().unwrap_or_default().to_owned();
    let calls: Vec<&Value> = results.iter().filter(|model| model["tool"]["ok"] == true).collect();
    if calls.is_empty() {
        return Err(fail("No tool-capable OpenRouter free models found."));
    }
    let mut sees: Vec<&Value> =
        results.iter().filter(|model| model["image"]["ok"] == true).collect();
    sees.sort_by_key(|model| model["image"]["latencyMs"].as_u64().unwrap_or(u64::MAX));
    let both: Vec<&Value> =
        calls.iter().copied().filter(|model| model["image"]["ok"] == true).collect();
    let best = if both.is_empty() { &calls } else { &both };
    let selected: Vec<String> =
        best.iter().take(wanted.candidates).map(|model| name(model)).collect();
    let images: Vec<String> =
        sees.iter().take(wanted.candidates).map(|model| name(model)).collect();
    if args.set_image && images.is_empty() {
        return Err(fail("No image-capable models selected for image model."));
    }
    if !args.json {
        context.ui.out(&table(results))?;
    }
    let asks = !(args.yes || args.no_input || args.json);
    if asks && !context.ui.confirm(&format!("Use {} as fallbacks?", selected.join(", ")))? {
        return Ok(Outcome::text("Nothing changed."));
    }
    let notes = config::change(context, |document| {
        let defaults = &mut document["agents"]["defaults"];
        for model in selected.iter().chain(&images) {
            if defaults["models"][model].is_null() {
                defaults["models"][model] = json!({});
            }
        }
        let mut fill = |key: &str, models: &[String], first: bool| {
            let slot = &mut defaults[key];
            if let Some(primary) = slot.as_str().map(str::to_owned) {
                *slot = json!({ "primary": primary });
            }
            slot["fallbacks"] = json!(models);
            if first {
                slot["primary"] = json!(models[0]);
            }
        };
        fill("model", &selected, args.set_default);
        if !images.is_empty() {
            fill("imageModel", &images, args.set_image);
        }
        Ok(())
    })?;
    if args.json {
        return Ok(Outcome::json(&json!({ "selected": selected, "selectedImages": images,
            "setDefault": args.set_default, "setImage": args.set_image, "results": results,
            "warnings": [] }))
        .with_stderr(notes));
    }
    let mut page = Page::default();
    page.line(format!("Updated {}", context.short(&context.paths.config)));
    page.line(format!("Fallbacks: {}", selected.join(", ")));
    if !images.is_empty() {
        page.line(format!("Image fallbacks: {}", images.join(", ")));
    }
    if args.set_default {
        page.line(format!("Default model: {}", selected[0]));
    }
    if args.set_image {
        page.line(format!("Image model: {}", images[0]));
    }
    Ok(Outcome::text(page).with_stderr(notes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_models_are_known_by_name_or_price_and_their_size_by_name() {
        let free = described(&json!({"id": "a/x-70b:free", "name": "X 7B of 70B"})).unwrap();
        assert_eq!((&free["isFree"], &free["inferredParamB"]), (&json!(true), &json!(70.0)));
        let priced = |price: &str| {
            described(&json!({"id": "a/y", "pricing": {"prompt": price, "completion": "0"}}))
                .unwrap()["isFree"]
                .clone()
        };
        assert_eq!((priced("0"), priced("0.1")), (json!(true), json!(false)));
        assert_eq!(described(&json!({"name": "no id"})), None);
        let wanted = Wanted {
            min_params: 80.0,
            max_age_days: 0.0,
            candidates: 1,
            timeout: Duration::ZERO,
            at_once: 1,
        };
        assert!(!is_wanted(&free, None, &wanted, 0));
        let wanted = Wanted { min_params: 0.0, ..wanted };
        assert!(
            is_wanted(&free, Some("A"), &wanted, 0) && !is_wanted(&free, Some("b"), &wanted, 0)
        );
    }
}
