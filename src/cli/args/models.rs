//! `models …`: which models there are and which one answers.

use clap::{Args, Subcommand};

#[derive(Debug, Clone, Args)]
pub struct ModelsArgs {
    /// Agent to look at
    #[arg(long, value_name = "id", global = true)]
    pub agent: Option<String>,
    /// Same as `models status --json`
    #[arg(long)]
    pub status_json: bool,
    /// Same as `models status --plain`
    #[arg(long)]
    pub status_plain: bool,
    #[command(subcommand)]
    pub command: Option<ModelsCommand>,
}

#[derive(Debug, Clone, Subcommand)]
pub enum ModelsCommand {
    /// List the configured models, or all that are known
    List(ListArgs),
    /// Show the models in use and whose keys they travel with
    Status(StatusArgs),
    /// Choose the model that answers
    Set(ModelArgs),
    /// Choose the model that looks at images
    SetImage(ModelArgs),
    /// Look after short names of models
    Aliases(AliasesArgs),
    /// Look after the models that answer when the first one cannot
    Fallbacks(FallbacksArgs),
    /// As `fallbacks`, for images
    ImageFallbacks(FallbacksArgs),
    /// Look after stored credentials
    Auth(AuthArgs),
    /// Try the free models of `OpenRouter`, and let the best answer when the first cannot
    Scan(ScanArgs),
}

#[derive(Debug, Clone, Default, Args)]
pub struct ScanArgs {
    /// Least size, in billions of parameters
    #[arg(long, value_name = "b")]
    pub min_params: Option<String>,
    /// Greatest age, in days
    #[arg(long, value_name = "days")]
    pub max_age_days: Option<String>,
    /// Only models of one vendor
    #[arg(long, value_name = "name")]
    pub provider: Option<String>,
    /// Choose at most so many
    #[arg(long, value_name = "n", default_value = "6")]
    pub max_candidates: String,
    /// Longest wait for one answer, in milliseconds
    #[arg(long, value_name = "ms", default_value = "12000")]
    pub timeout: String,
    /// Ask so many at a time
    #[arg(long, value_name = "n", default_value = "3")]
    pub concurrency: String,
    /// Only list them, without asking any
    #[arg(long)]
    pub no_probe: bool,
    /// Take the choice without asking
    #[arg(long)]
    pub yes: bool,
    /// The same
    #[arg(long)]
    pub no_input: bool,
    /// Let the first of them answer from now on
    #[arg(long)]
    pub set_default: bool,
    /// Let the first that sees images look at images from now on
    #[arg(long)]
    pub set_image: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct AuthArgs {
    #[command(subcommand)]
    pub command: AuthCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum AuthCommand {
    /// Store a token that is read from standard input
    PasteToken(PasteArgs),
    /// Choose which of a provider's credentials goes first
    Order(OrderArgs),
    /// Ask for a key or a token, and store it
    Add,
    /// Ask for the API key of a provider, and store it
    Login(LoginArgs),
    /// Ask for a token that the provider's own program has made
    SetupToken(SetupTokenArgs),
}

#[derive(Debug, Clone, Args)]
pub struct LoginArgs {
    /// Provider of the models
    #[arg(long, value_name = "id")]
    pub provider: Option<String>,
    /// How to sign in: api-key
    #[arg(long, value_name = "id")]
    pub method: Option<String>,
    /// Let a model of it answer from now on
    #[arg(long)]
    pub set_default: bool,
}

#[derive(Debug, Clone, Args)]
pub struct SetupTokenArgs {
    /// Provider of the models
    #[arg(long, value_name = "name", default_value = "anthropic")]
    pub provider: String,
    /// Do not ask whether to go on
    #[arg(long)]
    pub yes: bool,
}

#[derive(Debug, Clone, Args)]
pub struct PasteArgs {
    /// Provider of the models
    #[arg(long, value_name = "name")]
    pub provider: String,
    /// Name of the credential; the provider's name with `:manual` if left out
    #[arg(long, value_name = "id")]
    pub profile_id: Option<String>,
    /// How long it is good for, for example 365d or 12h
    #[arg(long, value_name = "duration")]
    pub expires_in: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub struct OrderArgs {
    #[command(subcommand)]
    pub command: OrderCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum OrderCommand {
    /// Show the agent's own order
    Get(OrderGetArgs),
    /// Use these credentials, in this order
    Set(OrderSetArgs),
    /// Go back to the configured order
    Clear(OrderTarget),
}

#[derive(Debug, Clone, Args)]
pub struct OrderTarget {
    /// Provider of the models
    #[arg(long, value_name = "name")]
    pub provider: String,
}

#[derive(Debug, Clone, Args)]
pub struct OrderGetArgs {
    #[command(flatten)]
    pub target: OrderTarget,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct OrderSetArgs {
    #[command(flatten)]
    pub target: OrderTarget,
    /// Names of stored credentials
    #[arg(required = true, value_name = "profile")]
    pub profile_ids: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub struct ModelArgs {
    /// Name or alias of the model
    #[arg(value_name = "model")]
    pub model: String,
}

#[derive(Debug, Clone, Args)]
pub struct AliasesArgs {
    #[command(subcommand)]
    pub command: AliasesCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum AliasesCommand {
    /// List the short names
    List(ListFormArgs),
    /// Give a model a short name
    Add(AddAliasArgs),
    /// Take a short name away
    Remove(AliasArgs),
}

#[derive(Debug, Clone, Args)]
pub struct AddAliasArgs {
    /// The short name
    #[arg(value_name = "alias")]
    pub alias: String,
    /// Name of the model
    #[arg(value_name = "model")]
    pub model: String,
}

#[derive(Debug, Clone, Args)]
pub struct AliasArgs {
    /// The short name
    #[arg(value_name = "alias")]
    pub alias: String,
}

#[derive(Debug, Clone, Args)]
pub struct FallbacksArgs {
    #[command(subcommand)]
    pub command: FallbacksCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum FallbacksCommand {
    /// List them
    List(ListFormArgs),
    /// Add one at the end
    Add(ModelArgs),
    /// Remove one
    Remove(ModelArgs),
    /// Remove all
    Clear,
}

#[derive(Debug, Clone, Default, Args)]
pub struct ListFormArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Print only the names
    #[arg(long)]
    pub plain: bool,
}

#[derive(Debug, Clone, Default, Args)]
pub struct ListArgs {
    /// List every known model
    #[arg(long)]
    pub all: bool,
    /// List only models of this host
    #[arg(long)]
    pub local: bool,
    /// List only models of one provider
    #[arg(long, value_name = "name")]
    pub provider: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Print only the names
    #[arg(long)]
    pub plain: bool,
}

#[derive(Debug, Clone, Default, Args)]
pub struct StatusArgs {
    /// Exit with 1 if a model in use has no key
    #[arg(long)]
    pub check: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Print only the model in use
    #[arg(long)]
    pub plain: bool,
}
