//! `onboard` and `configure`.

use clap::{Arg, ArgMatches, Args, Command};

/// One of the many options that carry a provider's key.
#[derive(Debug, Clone, Copy)]
pub struct KeyFlag {
    /// Without `--`.
    pub flag: &'static str,
    pub provider: &'static str,
}

const fn key(flag: &'static str, provider: &'static str) -> KeyFlag {
    KeyFlag { flag, provider }
}

/// The reference's options, with the providers they belong to.
pub const KEY_FLAGS: &[KeyFlag] = &[
    key("ai-gateway-api-key", "vercel-ai-gateway"),
    key("anthropic-api-key", "anthropic"),
    key("byteplus-api-key", "byteplus"),
    key("chutes-api-key", "chutes"),
    key("cloudflare-ai-gateway-api-key", "cloudflare-ai-gateway"),
    key("deepseek-api-key", "deepseek"),
    key("fal-api-key", "fal"),
    key("gemini-api-key", "google"),
    key("huggingface-api-key", "huggingface"),
    key("kilocode-api-key", "kilocode"),
    key("kimi-code-api-key", "kimi-coding"),
    key("litellm-api-key", "litellm"),
    key("minimax-api-key", "minimax"),
    key("mistral-api-key", "mistral"),
    key("modelstudio-api-key", "modelstudio"),
    key("modelstudio-api-key-cn", "modelstudio"),
    key("modelstudio-standard-api-key", "modelstudio"),
    key("modelstudio-standard-api-key-cn", "modelstudio"),
    key("moonshot-api-key", "moonshot"),
    key("openai-api-key", "openai"),
    key("opencode-go-api-key", "opencode-go"),
    key("opencode-zen-api-key", "opencode"),
    key("openrouter-api-key", "openrouter"),
    key("qianfan-api-key", "qianfan"),
    key("synthetic-api-key", "synthetic"),
    key("together-api-key", "together"),
    key("venice-api-key", "venice"),
    key("volcengine-api-key", "volcengine"),
    key("xai-api-key", "xai"),
    key("xiaomi-api-key", "xiaomi"),
    key("zai-api-key", "zai"),
];

/// The keys that were given.
#[derive(Debug, Clone, Default)]
pub struct Keys(pub Vec<(KeyFlag, String)>);

impl clap::FromArgMatches for Keys {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = KEY_FLAGS.iter().filter_map(|flag| {
            let key = matches.get_one::<String>(flag.flag)?.trim();
            (!key.is_empty()).then(|| (*flag, key.to_owned()))
        });
        Ok(Self(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = <Self as clap::FromArgMatches>::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Keys {
    fn augment_args(command: Command) -> Command {
        command.args(KEY_FLAGS.iter().map(|flag| {
            Arg::new(flag.flag)
                .long(flag.flag)
                .value_name("key")
                .help(format!("API key of {}", flag.provider))
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

#[derive(Debug, Clone, Default, Args)]
pub struct OnboardArgs {
    /// Directory in which the agent works
    #[arg(long, value_name = "dir")]
    pub workspace: Option<String>,
    /// Start over: delete configuration, credentials and sessions first
    #[arg(long)]
    pub reset: bool,
    /// What --reset deletes: config, config+creds+sessions or full
    #[arg(long, value_name = "scope")]
    pub reset_scope: Option<String>,
    /// Ask for nothing
    #[arg(long)]
    pub non_interactive: bool,
    /// Yes, an agent that runs commands is a risk
    #[arg(long)]
    pub accept_risk: bool,
    /// Accepted for compatibility: quickstart, advanced or manual
    #[arg(long, value_name = "flow")]
    pub flow: Option<String>,
    /// local or remote
    #[arg(long, value_name = "mode")]
    pub mode: Option<String>,
    /// Whose models, and how one signs in there: skip, a provider, token or custom-api-key
    #[arg(long, value_name = "choice")]
    pub auth_choice: Option<String>,
    /// With --auth-choice token: the provider
    #[arg(long, value_name = "id")]
    pub token_provider: Option<String>,
    /// With --auth-choice token: the token
    #[arg(long, value_name = "token")]
    pub token: Option<String>,
    /// With --auth-choice token: name of the credential
    #[arg(long, value_name = "id")]
    pub token_profile_id: Option<String>,
    /// With --auth-choice token: how long it is good for
    #[arg(long, value_name = "duration")]
    pub token_expires_in: Option<String>,
    /// Where keys are kept: plaintext, or ref for a reference to the variable they are in
    #[arg(long, value_name = "mode")]
    pub secret_input_mode: Option<String>,
    #[command(flatten)]
    pub keys: Keys,
    /// Account of the Cloudflare AI gateway
    #[arg(long, value_name = "id")]
    pub cloudflare_ai_gateway_account_id: Option<String>,
    /// Name of the Cloudflare AI gateway
    #[arg(long, value_name = "id")]
    pub cloudflare_ai_gateway_gateway_id: Option<String>,
    /// Address of another provider
    #[arg(long, value_name = "url")]
    pub custom_base_url: Option<String>,
    /// Its key
    #[arg(long, value_name = "key")]
    pub custom_api_key: Option<String>,
    /// A model of it
    #[arg(long, value_name = "id")]
    pub custom_model_id: Option<String>,
    /// A name for it
    #[arg(long, value_name = "id")]
    pub custom_provider_id: Option<String>,
    /// What it speaks: openai or anthropic
    #[arg(long, value_name = "mode")]
    pub custom_compatibility: Option<String>,
    /// Port of the gateway
    #[arg(long, value_name = "port")]
    pub gateway_port: Option<String>,
    /// Who may connect: loopback, lan, tailnet, auto or custom
    #[arg(long, value_name = "mode")]
    pub gateway_bind: Option<String>,
    /// How clients prove themselves: token or password
    #[arg(long, value_name = "mode")]
    pub gateway_auth: Option<String>,
    /// The token; one is made if it is left out
    #[arg(long, value_name = "token")]
    pub gateway_token: Option<String>,
    /// Variable that holds the token
    #[arg(long, value_name = "name")]
    pub gateway_token_ref_env: Option<String>,
    /// The password
    #[arg(long, value_name = "password")]
    pub gateway_password: Option<String>,
    /// Gateway to use in remote mode
    #[arg(long, value_name = "url")]
    pub remote_url: Option<String>,
    /// Its token
    #[arg(long, value_name = "token")]
    pub remote_token: Option<String>,
    /// What a tailnet sees of the gateway: off, serve or funnel
    #[arg(long, value_name = "mode")]
    pub tailscale: Option<String>,
    /// Take that back when the gateway ends
    #[arg(long)]
    pub tailscale_reset_on_exit: bool,
    /// Install the service
    #[arg(long)]
    pub install_daemon: bool,
    /// Do not install the service
    #[arg(long)]
    pub no_install_daemon: bool,
    /// The same
    #[arg(long)]
    pub skip_daemon: bool,
    /// Accepted for compatibility; this gateway needs no runtime
    #[arg(long, value_name = "runtime")]
    pub daemon_runtime: Option<String>,
    /// Ask nothing about channels
    #[arg(long)]
    pub skip_channels: bool,
    /// Leave the settings of skills alone
    #[arg(long)]
    pub skip_skills: bool,
    /// Accepted for compatibility
    #[arg(long)]
    pub skip_search: bool,
    /// Do not wait for the gateway
    #[arg(long)]
    pub skip_health: bool,
    /// Accepted for compatibility
    #[arg(long)]
    pub skip_ui: bool,
    /// Node package manager for installs of skills: npm, pnpm or bun
    #[arg(long, value_name = "name")]
    pub node_manager: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Default, Args)]
pub struct ConfigureArgs {
    /// Ask only about this; may be repeated: workspace, model, gateway, daemon, channels or health
    #[arg(long, value_name = "section")]
    pub section: Vec<String>,
}
