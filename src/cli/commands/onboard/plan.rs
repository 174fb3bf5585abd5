//! What `onboard` will write, decided from its options alone. Texts that refuse
//! are the reference's; scripts match them.

use serde_json::{Value, json};

use crate::agents::models::catalog::{self, VENDORS};
use crate::cli::args::onboard::{KEY_FLAGS, OnboardArgs};
use crate::profile::env::Env;

/// The model's share of a custom provider's description.
const CONTEXT_WINDOW: u64 = 16_000;
const MAX_TOKENS: u64 = 4_096;

/// A path of the configuration and what it becomes.
pub(super) type Change = (Vec<String>, Value);

/// How models are paid for.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Sign {
    /// As `--auth-choice` spells it.
    pub choice: String,
    /// Name and content of a credential to store.
    pub credential: Option<(String, Value)>,
    pub changes: Vec<Change>,
    /// The model that should answer if none is configured.
    pub model: Option<String>,
}

/// How the gateway is reached.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Door {
    pub port: u16,
    pub bind: String,
    pub auth: String,
    pub tailscale: String,
    pub changes: Vec<Change>,
}

fn path(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

fn typed(text: Option<&String>) -> Option<&str> {
    text.map(|text| text.trim()).filter(|text| !text.is_empty())
}

/// Which models, and whose key.
pub(super) fn sign(args: &OnboardArgs, env: &Env) -> Result<Sign, String> {
    let custom = [&args.custom_base_url, &args.custom_model_id, &args.custom_api_key];
    let by_custom = custom.into_iter().any(|flag| typed(flag.as_ref()).is_some());
    let mut given: Vec<String> =
        args.keys.0.iter().map(|(flag, _)| format!("--{}", flag.flag)).collect();
    if by_custom {
        given.push("--custom-base-url/--custom-model-id/--custom-api-key".to_owned());
    }
    let choice = match (typed(args.auth_choice.as_ref()), given.len()) {
        (Some(choice), _) => choice.to_owned(),
        (None, 0) => return Ok(Sign { choice: "skip".to_owned(), ..Sign::default() }),
        (None, 1) if by_custom => "custom-api-key".to_owned(),
        (None, 1) => args.keys.0[0].0.flag.to_owned(),
        (None, _) => {
            return Err(format!(
                "Multiple API key flags were provided for non-interactive setup.\n\
                 Use a single provider flag or pass --auth-choice explicitly.\nFlags: {}",
                given.join(", ")
            ));
        }
    };
    match choice.as_str() {
        "skip" => Ok(Sign { choice, ..Sign::default() }),
        "custom-api-key" => custom_provider(args, env),
        "token" => token(args),
        "setup-token" => Err("Auth choice \"setup-token\" requires interactive mode.\n\
             Use \"--auth-choice token\" with --token and --token-provider anthropic."
            .to_owned()),
        _ => provider_key(args, env, choice),
    }
}

/// The provider that a choice names: by an option, by `apiKey`, or by its id.
fn provider_of(args: &OnboardArgs, choice: &str) -> Option<String> {
    if choice == "apiKey" {
        return Some(typed(args.token_provider.as_ref()).unwrap_or("anthropic").to_owned());
    }
    let flag = KEY_FLAGS.iter().find(|flag| flag.flag == choice);
    let flag = flag.map(|flag| flag.provider);
    flag.or_else(|| catalog::vendor_of(choice).map(|vendor| vendor.id)).map(str::to_owned)
}

fn provider_key(args: &OnboardArgs, env: &Env, choice: String) -> Result<Sign, String> {
    let unknown = || {
        let known: Vec<&str> = VENDORS.iter().map(|vendor| vendor.id).collect();
        format!(
            "Auth choice \"{choice}\" is not part of this gateway: it signs in with keys and \
             tokens. Use skip, token, custom-api-key or one of: {}",
            known.join(", ")
        )
    };
    let provider = provider_of(args, &choice).ok_or_else(unknown)?;
    let vendor = catalog::vendor_of(&provider).ok_or_else(|| {
        format!(
            "Provider \"{provider}\" is not built in. If it speaks as OpenAI or Anthropic do, use \
             --auth-choice custom-api-key with --custom-base-url, --custom-model-id and \
             --custom-api-key."
        )
    })?;
    let (flag, flagged) = args
        .keys
        .0
        .iter()
        .find(|(flag, _)| flag.provider == provider)
        .map_or((None, None), |(flag, key)| (Some(flag.flag), Some(key.as_str())));
    let name = flag
        .or_else(|| KEY_FLAGS.iter().find(|flag| flag.provider == provider).map(|flag| flag.flag));
    let variable = vendor.env.iter().find(|name| env.get(name).is_some_and(|key| !key.is_empty()));
    let mut credential = json!({ "type": "api_key", "provider": provider });
    if as_reference(args)? {
        let Some(variable) = variable else {
            let name = vendor.env.first().unwrap_or(&"");
            return Err(match flagged {
                Some(_) => format!(
                    "--{0} cannot be used with --secret-input-mode ref unless {name} is set in env.\n\
                     Set {name} in env and omit --{0}, or use --secret-input-mode plaintext.",
                    flag.unwrap_or_default()
                ),
                None => format!(
                    "--secret-input-mode ref requires an explicit environment variable for provider \"{provider}\".\n\
                     Set {name} in env and retry, or use --secret-input-mode plaintext."
                ),
            });
        };
        credential["keyRef"] = reference(variable);
    } else {
        let key = flagged.or_else(|| env.get(variable?));
        let key = key.ok_or_else(|| {
            let option = name.map_or_else(|| "a key".to_owned(), |name| format!("--{name}"));
            format!("Missing {option} (or {} in env).", vendor.env.first().unwrap_or(&"a variable"))
        })?;
        credential["key"] = json!(key);
    }
    let id = format!("{provider}:default");
    let mut changes = vec![(
        path(&["auth", "profiles", &id]),
        json!({ "provider": provider, "mode": "api_key" }),
    )];
    if provider == "cloudflare-ai-gateway" {
        let (account, gateway) = (
            typed(args.cloudflare_ai_gateway_account_id.as_ref()),
            typed(args.cloudflare_ai_gateway_gateway_id.as_ref()),
        );
        let (Some(account), Some(gateway)) = (account, gateway) else {
            return Err("Cloudflare AI Gateway requires --cloudflare-ai-gateway-account-id and \
                        --cloudflare-ai-gateway-gateway-id."
                .to_owned());
        };
        let url = format!("https://gateway.ai.cloudflare.com/v1/{account}/{gateway}/anthropic");
        let at = path(&["models", "providers", &provider, "baseUrl"]);
        changes.push((at, json!(url)));
    }
    let model = catalog::entries().iter().find(|entry| entry.provider == provider);
    Ok(Sign {
        choice,
        credential: Some((id, credential)),
        changes,
        model: model.map(|entry| format!("{provider}/{}", entry.id)),
    })
}

fn as_reference(args: &OnboardArgs) -> Result<bool, String> {
    match typed(args.secret_input_mode.as_ref()) {
        None | Some("plaintext") => Ok(false),
        Some("ref") => Ok(true),
        Some(_) => Err("Invalid --secret-input-mode. Use \"plaintext\" or \"ref\".".to_owned()),
    }
}

fn reference(variable: &str) -> Value {
    json!({ "source": "env", "provider": "default", "id": variable })
}

fn token(args: &OnboardArgs) -> Result<Sign, String> {
    let provider = typed(args.token_provider.as_ref())
        .ok_or("Missing --token-provider for --auth-choice token.".to_owned())?;
    let token =
        typed(args.token.as_ref()).ok_or("Missing --token for --auth-choice token.".to_owned())?;
    let id = typed(args.token_profile_id.as_ref())
        .map_or_else(|| format!("{provider}:default"), str::to_owned);
    let mut credential = json!({ "type": "token", "provider": provider, "token": token });
    if let Some(text) = typed(args.token_expires_in.as_ref()) {
        let ms = crate::base::duration::parse_ms(text, "d")
            .ok_or_else(|| format!("Invalid --token-expires-in: {text}"))?;
        credential["expires"] = json!(crate::base::clock::now_ms() + ms);
    }
    let model = catalog::entries().iter().find(|entry| entry.provider == provider);
    Ok(Sign {
        choice: "token".to_owned(),
        changes: vec![(
            path(&["auth", "profiles", &id]),
            json!({ "provider": provider, "mode": "token" }),
        )],
        credential: Some((id, credential)),
        model: model.map(|entry| format!("{provider}/{}", entry.id)),
    })
}

fn custom_provider(args: &OnboardArgs, env: &Env) -> Result<Sign, String> {
    let (Some(url), Some(model)) =
        (typed(args.custom_base_url.as_ref()), typed(args.custom_model_id.as_ref()))
    else {
        return Err("Auth choice \"custom-api-key\" requires a base URL and model ID.\n\
                    Use --custom-base-url and --custom-model-id."
            .to_owned());
    };
    let parsed = reqwest::Url::parse(url).map_err(|_| {
        "Invalid custom provider config: Custom provider base URL must be a valid URL.".to_owned()
    })?;
    let api = match typed(args.custom_compatibility.as_ref()).unwrap_or("openai") {
        "openai" => "openai-completions",
        "anthropic" => "anthropic-messages",
        _ => {
            return Err(
                "Invalid --custom-compatibility (use \"openai\" or \"anthropic\").".to_owned()
            );
        }
    };
    let id = endpoint(&typed(args.custom_provider_id.as_ref()).map_or_else(
        || {
            let port = parsed.port().map(|port| format!("-{port}")).unwrap_or_default();
            format!("custom-{}{port}", parsed.host_str().unwrap_or_default())
        },
        str::to_owned,
    ));
    if id.is_empty() {
        return Err("Invalid custom provider config: Custom provider ID must include letters, \
                    numbers, or hyphens."
            .to_owned());
    }
    let at = |key: &str| path(&["models", "providers", &id, key]);
    let mut changes = vec![
        (at("baseUrl"), json!(url)),
        (at("api"), json!(api)),
        (
            at("models"),
            json!([{ "id": model, "name": format!("{model} (Custom Provider)"),
                "contextWindow": CONTEXT_WINDOW, "maxTokens": MAX_TOKENS, "input": ["text"],
                "cost": { "input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0 },
                "reasoning": false }]),
        ),
    ];
    let variable = env.get("CUSTOM_API_KEY").filter(|key| !key.is_empty());
    if as_reference(args)? && variable.is_some() {
        changes.push((at("apiKey"), reference("CUSTOM_API_KEY")));
    } else if let Some(key) = typed(args.custom_api_key.as_ref()).or(variable) {
        changes.push((at("apiKey"), json!(key)));
    }
    let primary = path(&["agents", "defaults", "model", "primary"]);
    changes.push((primary, json!(format!("{id}/{model}"))));
    Ok(Sign { choice: "custom-api-key".to_owned(), changes, ..Sign::default() })
}

/// Small letters, digits and single hyphens.
fn endpoint(text: &str) -> String {
    let words = text.to_lowercase();
    let words = words.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-")
}

/// Where and how the gateway listens. `token` makes one if it is needed.
pub(super) fn door(
    args: &OnboardArgs,
    env: &Env,
    port: u16,
    token: impl FnOnce() -> String,
) -> Result<Door, String> {
    let port = match typed(args.gateway_port.as_ref()) {
        None => port,
        Some(text) => text
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| "Invalid --gateway-port".to_owned())?,
    };
    let tailscale = typed(args.tailscale.as_ref()).unwrap_or("off").to_owned();
    if !["off", "serve", "funnel"].contains(&tailscale.as_str()) {
        return Err("Invalid --tailscale (use off|serve|funnel).".to_owned());
    }
    let mut bind = typed(args.gateway_bind.as_ref()).unwrap_or("loopback").to_owned();
    if !["loopback", "lan", "tailnet", "auto", "custom"].contains(&bind.as_str()) {
        return Err("Invalid --gateway-bind (use loopback|lan|tailnet|auto|custom).".to_owned());
    }
    let mut auth = typed(args.gateway_auth.as_ref()).unwrap_or("token").to_owned();
    if !["token", "password"].contains(&auth.as_str()) {
        return Err("Invalid --gateway-auth (use token|password).".to_owned());
    }
    // What the tailnet shows listens on this host alone; the internet needs a password.
    if tailscale != "off" {
        "loopback".clone_into(&mut bind);
    }
    if tailscale == "funnel" {
        "password".clone_into(&mut auth);
    }
    let (key, secret) = if auth == "password" {
        let password = typed(args.gateway_password.as_ref())
            .ok_or_else(|| "Missing --gateway-password for password auth.".to_owned())?;
        ("password", json!(password))
    } else if let Some(variable) = typed(args.gateway_token_ref_env.as_ref()) {
        ("token", token_reference(args, env, variable)?)
    } else {
        let given =
            typed(args.gateway_token.as_ref()).or_else(|| env.get("OPENCLAW_GATEWAY_TOKEN"));
        ("token", json!(given.map_or_else(token, str::to_owned)))
    };
    let changes = vec![
        (path(&["gateway", "port"]), json!(port)),
        (path(&["gateway", "bind"]), json!(bind)),
        (path(&["gateway", "auth", "mode"]), json!(auth)),
        (path(&["gateway", "auth", key]), secret),
        (path(&["gateway", "tailscale", "mode"]), json!(tailscale)),
        (path(&["gateway", "tailscale", "resetOnExit"]), json!(args.tailscale_reset_on_exit)),
    ];
    Ok(Door { port, bind, auth, tailscale, changes })
}

fn token_reference(args: &OnboardArgs, env: &Env, variable: &str) -> Result<Value, String> {
    let valid = variable
        .bytes()
        .enumerate()
        .all(|(at, c)| c == b'_' || c.is_ascii_uppercase() || (at > 0 && c.is_ascii_digit()));
    if !valid {
        return Err(
            "Invalid --gateway-token-ref-env (use env var name like OPENCLAW_GATEWAY_TOKEN)."
                .to_owned(),
        );
    }
    if typed(args.gateway_token.as_ref()).is_some() {
        return Err("Use either --gateway-token or --gateway-token-ref-env, not both.".to_owned());
    }
    match env.get(variable).map(str::trim).filter(|token| !token.is_empty()) {
        Some(_) => Ok(reference(variable)),
        None => Err(format!("Environment variable \"{variable}\" is missing or empty.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::onboard::Keys;

    fn with_key(flag: &str, key: &str) -> OnboardArgs {
        let flag = KEY_FLAGS.iter().find(|known| known.flag == flag).unwrap();
        OnboardArgs { keys: Keys(vec![(*flag, key.to_owned())]), ..OnboardArgs::default() }
    }

    #[test]
    fn a_key_becomes_a_credential_and_names_a_model() {
        let plan = sign(&with_key("openai-api-key", "sk-x"), &Env::default()).unwrap();
        let (id, credential) = plan.credential.unwrap();
        assert_eq!(id, "openai:default");
        assert_eq!(credential, json!({"type": "api_key", "provider": "openai", "key": "sk-x"}));
        assert!(plan.model.unwrap().starts_with("openai/"));
        assert_eq!(plan.choice, "openai-api-key");
    }

    #[test]
    fn choices_that_cannot_be_say_why() {
        let env = Env::default();
        let choose = |choice: &str| OnboardArgs {
            auth_choice: Some(choice.to_owned()),
            ..OnboardArgs::default()
        };
        let refused = |args: &OnboardArgs| sign(args, &env).unwrap_err();
        assert_eq!(
            refused(&choose("openai-api-key")),
            "Missing --openai-api-key (or OPENAI_API_KEY in env)."
        );
        assert!(refused(&choose("openai-codex")).contains("is not part of this gateway"));
        assert!(
            refused(&with_key("qianfan-api-key", "k")).contains("--auth-choice custom-api-key")
        );
        assert!(refused(&choose("custom-api-key")).contains("--custom-base-url"));
        let mut two = with_key("openai-api-key", "a");
        two.keys.0.extend(with_key("xai-api-key", "b").keys.0);
        assert!(refused(&two).ends_with("Flags: --openai-api-key, --xai-api-key"));
        let by_reference =
            OnboardArgs { secret_input_mode: Some("ref".to_owned()), ..choose("openai") };
        assert!(refused(&by_reference).contains("Set OPENAI_API_KEY in env"));
        let env: Env = [("OPENAI_API_KEY", "sk")].into_iter().collect();
        let (_, credential) = sign(&by_reference, &env).unwrap().credential.unwrap();
        assert_eq!(credential["keyRef"]["id"], "OPENAI_API_KEY");
        assert_eq!(credential.get("key"), None);
    }

    #[test]
    fn a_custom_provider_is_named_after_its_host() {
        let args = OnboardArgs {
            custom_base_url: Some("http://10.0.0.4:8080/v1".to_owned()),
            custom_model_id: Some("m".to_owned()),
            ..OnboardArgs::default()
        };
        let plan = sign(&args, &Env::default()).unwrap();
        let (keys, url) = &plan.changes[0];
        assert_eq!(keys.join("."), "models.providers.custom-10-0-0-4-8080.baseUrl");
        assert_eq!(url, "http://10.0.0.4:8080/v1");
        assert_eq!(plan.changes.last().unwrap().1, "custom-10-0-0-4-8080/m");
    }

    #[test]
    fn the_internet_needs_a_password_and_a_token_is_made_once() {
        let made = || "made".to_owned();
        let plain = door(&OnboardArgs::default(), &Env::default(), 18789, made).unwrap();
        assert_eq!(
            (plain.port, plain.bind.as_str(), plain.auth.as_str()),
            (18789, "loopback", "token")
        );
        assert!(plain.changes.iter().any(|(_, value)| value == "made"));
        let funnel = OnboardArgs {
            tailscale: Some("funnel".to_owned()),
            gateway_bind: Some("lan".to_owned()),
            ..OnboardArgs::default()
        };
        let refused = door(&funnel, &Env::default(), 1, made).unwrap_err();
        assert_eq!(refused, "Missing --gateway-password for password auth.");
        let bad = OnboardArgs { gateway_port: Some("0".to_owned()), ..OnboardArgs::default() };
        assert_eq!(door(&bad, &Env::default(), 1, made).unwrap_err(), "Invalid --gateway-port");
    }
}
